#include "file_digest.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <functional>
#include <new>
#include <system_error>
#include <thread>

#include "sha256.h"

namespace deltaport {

namespace {

namespace fs = std::filesystem;

constexpr size_t kPiece = size_t{16} << 20;
constexpr size_t kRead = size_t{1} << 20;
constexpr size_t kPieces = 1024;  // at once: a stranger's file may claim to be of any size

struct Piece {
  uintmax_t begin;
  Sha256::Digest digest{};
  int error = 0;  // an errno
};

void read_piece(const fs::path& path, Piece& piece, std::vector<char>& buffer) {
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(piece.begin));
  Sha256 hash;
  for (size_t left = kPiece; stream && left > 0;) {
    stream.read(buffer.data(), static_cast<std::streamsize>(std::min(left, buffer.size())));
    const auto count = static_cast<size_t>(stream.gcount());
    hash.update(buffer.data(), count);
    left -= count;
  }
  if (!stream.is_open() || stream.bad()) piece.error = errno == 0 ? EIO : errno;
  piece.digest = hash.finish();
}

void read_pieces(const fs::path& path, std::vector<Piece>& pieces) {
  std::atomic<size_t> next = 0;
  const auto work = [&](std::vector<char>& buffer) {
    for (size_t i; (i = next++) < pieces.size();) {
      try {
        read_piece(path, pieces[i], buffer);
      } catch (const std::bad_alloc&) {
        pieces[i].error = ENOMEM;
      }
    }
  };
  const size_t cores = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::vector<char>> buffers(std::min(cores, pieces.size()), std::vector<char>(kRead));
  std::vector<std::jthread> others;
  for (size_t i = 1; i < buffers.size(); ++i) {
    try {
      others.emplace_back(work, std::ref(buffers[i]));
    } catch (const std::system_error&) {
      break;  // those there are do it
    }
  }
  work(buffers[0]);
}

}  // namespace

std::string file_digest(const fs::path& path) {
  const uintmax_t size = fs::file_size(path);
  Sha256 all;
  uintmax_t begin = 0;
  do {
    std::vector<Piece> pieces;
    do {
      pieces.push_back({begin});
      begin += kPiece;
    } while (begin < size && pieces.size() < kPieces);
    read_pieces(path, pieces);
    for (const Piece& piece : pieces) {
      if (piece.error != 0) throw std::system_error(piece.error, std::generic_category());
      if (size <= kPiece) return hex(piece.digest);
      all.update(piece.digest.data(), piece.digest.size());
    }
  } while (begin < size);
  return hex(all.finish());
}

}  // namespace deltaport
