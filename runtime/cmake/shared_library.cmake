# libdeltaport: the runtime behind the C layer, and what makes find_package(deltaport) find it.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(API_HEADER ${CMAKE_CURRENT_SOURCE_DIR}/include/deltaport/deltaport.h)
file(STRINGS ${API_HEADER} API_LINE REGEX "^#define DELTAPORT_API_VERSION")
string(REGEX MATCH "[0-9]+$" API_VERSION "${API_LINE}")

file(GLOB C_API_SOURCES CONFIGURE_DEPENDS src/c_api/*.cc)
add_library(deltaport SHARED ${C_API_SOURCES})
add_library(deltaport::deltaport ALIAS deltaport)
target_link_libraries(deltaport PRIVATE runtime_core)
target_include_directories(deltaport PUBLIC
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
target_compile_options(deltaport PRIVATE ${RUNTIME_OPTIMIZE} -Wall -Wextra)
set_target_properties(deltaport PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${API_VERSION}
  CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
if(CMAKE_SYSTEM_NAME STREQUAL Linux)
  # Hidden visibility alone leaves what the C++ library's headers instantiate.
  set(API_SYMBOLS ${CMAKE_CURRENT_SOURCE_DIR}/cmake/api_symbols.map)
  target_link_options(deltaport PRIVATE "LINKER:--version-script=${API_SYMBOLS}" LINKER:-z,defs)
  set_target_properties(deltaport PROPERTIES LINK_DEPENDS ${API_SYMBOLS})
endif()
deltaport_sanitize(deltaport)

set(PACKAGE_FOLDER ${CMAKE_INSTALL_LIBDIR}/cmake/deltaport)
install(TARGETS deltaport EXPORT deltaport LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/deltaport/deltaport.h include/deltaport/deltaport.hpp
  DESTINATION include/deltaport)
install(EXPORT deltaport NAMESPACE deltaport:: FILE deltaportConfig.cmake
  DESTINATION ${PACKAGE_FOLDER})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/deltaportConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/deltaportConfigVersion.cmake
  DESTINATION ${PACKAGE_FOLDER})
