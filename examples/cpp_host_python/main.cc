// Continues a text with deltaport's Python API, from a C++ application that embeds Python.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace {

constexpr char kUsage[] = "usage: cpp_host_python ENGINE TEXT [--new N] [--python PATH]";

struct Arguments {
  std::string engine;
  std::string text;
  std::string python = "python3";  // of an environment with deltaport; by default that on PATH
  long most_new = 16;
};

Arguments parse(int count, char** words) {
  Arguments found;
  int places = 0;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--new" || word == "--python") {
      if (i + 1 == count) throw std::runtime_error(word + " needs a value; " + kUsage);
      const char* const value = words[++i];
      if (word == "--python") {
        found.python = value;
        continue;
      }
      char* end = nullptr;
      found.most_new = std::strtol(value, &end, 10);
      if (end == value || *end != '\0') {
        throw std::runtime_error("'" + std::string(value) + "' is not an integer; " + kUsage);
      }
    } else if (places < 2) {
      (places++ == 0 ? found.engine : found.text) = word;
    } else {
      throw std::runtime_error(kUsage);
    }
  }
  if (places != 2) throw std::runtime_error(kUsage);
  return found;
}

// A reference that this program owns.
class Object {
 public:
  // Takes a new reference over; null is a Python exception, thrown as a C++ one.
  explicit Object(PyObject* made) : object_(made) {
    if (made == nullptr) throw std::runtime_error(take_exception());
  }
  ~Object() { Py_DECREF(object_); }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  PyObject* get() const { return object_; }
  Object attribute(const char* name) const { return Object(PyObject_GetAttrString(object_, name)); }

 private:
  static std::string take_exception() {
    PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject* const text = value == nullptr ? nullptr : PyObject_Str(value);
    const char* const line = text == nullptr ? nullptr : PyUnicode_AsUTF8(text);
    const std::string message = line == nullptr ? "unknown error" : line;
    PyErr_Clear();
    for (PyObject* const held : {text, type, value, trace}) Py_XDECREF(held);
    return message;
  }

  PyObject* object_;
};

// Python, as the interpreter at `python` would start: its environment's packages are found.
class Python {
 public:
  explicit Python(const std::string& python) {
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;  // Ctrl-C stays the application's
    config.parse_argv = 0;
    PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, python.c_str());
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
      throw std::runtime_error(std::string("Python does not start: ") +
                               (status.err_msg == nullptr ? "unknown error" : status.err_msg));
    }
  }
  ~Python() { Py_FinalizeEx(); }
  Python(const Python&) = delete;
  Python& operator=(const Python&) = delete;
};

void run(const Arguments& arguments) {
  const Object runtime(PyImport_ImportModule("deltaport.runtime"));
  const Object engine_class = runtime.attribute("Engine");
  const Object engine(
      PyObject_CallMethod(engine_class.get(), "open", "s", arguments.engine.c_str()));
  const Object session(PyObject_CallMethod(engine.get(), "session", nullptr));

  const Object params_class = runtime.attribute("SamplingParams");
  const Object nothing(PyTuple_New(0));
  const Object fields(Py_BuildValue("{s:l}", "max_new_tokens", arguments.most_new));
  const Object params(PyObject_Call(params_class.get(), nothing.get(), fields.get()));

  const Object events(PyObject_CallMethod(session.get(), "stream", "[s]O", arguments.text.c_str(),
                                          params.get()));
  while (PyObject* const next = PyIter_Next(events.get())) {
    const Object event(next);
    const Object text = event.attribute("text");
    const char* const piece = text.get() == Py_None ? "" : PyUnicode_AsUTF8(text.get());
    if (piece == nullptr) throw std::runtime_error("a piece of text is no UTF-8");
    std::fputs(piece, stdout);
    std::fflush(stdout);
  }
  if (PyErr_Occurred()) const Object failed(nullptr);  // throws what ended the stream
  std::puts("");
}

}  // namespace

int main(int count, char** words) {
  try {
    const Arguments arguments = parse(count, words);
    const Python python(arguments.python);
    run(arguments);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}
