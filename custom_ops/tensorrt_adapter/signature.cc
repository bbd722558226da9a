#include "tensorrt_adapter/signature.h"

#include <algorithm>
#include <cctype>
#include <sstream>

namespace deltaport::tensorrt {

namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
  return parts;
}

}  // namespace

Signature::Signature(const std::vector<Port>& inputs, const std::vector<Port>& outputs)
    : ports(inputs), input_count(inputs.size()) {
  ports.insert(ports.end(), outputs.begin(), outputs.end());
  for (const Port& port : ports) {
    std::vector<Dimension>& shape = shapes.emplace_back();
    for (const std::string& text : split(port.shape, ',')) shape.push_back(parse_dimension(text));
  }
}

Dimension Signature::parse_dimension(const std::string& text) {
  Dimension dimension;
  for (size_t begin = 0; begin < text.size();) {
    const bool is_negative = text[begin] == '-';
    if (is_negative || text[begin] == '+') ++begin;
    const size_t end = std::min(text.find_first_of("+-", begin), text.size());
    Term term = parse_term(text.substr(begin, end - begin));
    if (is_negative) term.factor = -term.factor;
    dimension.push_back(term);
    begin = end;
  }
  return dimension;
}

Term Signature::parse_term(const std::string& text) {
  Term term{1, {}};
  for (const std::string& factor : split(text, '*')) {
    if (std::isdigit(static_cast<unsigned char>(factor[0]))) {
      term.factor *= std::stoll(factor);
      continue;
    }
    const auto found = std::find(size_names.begin(), size_names.end(), factor);
    term.sizes.push_back(static_cast<size_t>(found - size_names.begin()));
    if (found == size_names.end()) size_names.push_back(factor);
  }
  return term;
}

}  // namespace deltaport::tensorrt
