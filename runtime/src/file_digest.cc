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

struct Piece {
  const fs::path* path;
  size_t file;
  uintmax_t begin;
  Sha256::Digest digest{};
  int error = 0;
};

void read_piece(Piece& piece, std::vector<char>& buffer) {
  errno = 0;
  std::ifstream stream(*piece.path, std::ios::binary);
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

std::vector<Piece> pieces_of(std::span<const fs::path> paths) {
  std::vector<Piece> pieces;
  for (size_t file = 0; file < paths.size(); ++file) {
    std::error_code error;
    const uintmax_t size = fs::file_size(paths[file], error);
    uintmax_t begin = 0;
    do {
      pieces.push_back({&paths[file], file, begin});
      begin += kPiece;
    } while (!error && begin < size);
  }
  return pieces;
}

void read_all(std::vector<Piece>& pieces) {
  std::atomic<size_t> next = 0;
  const auto work = [&](std::vector<char>& buffer) {
    for (size_t i; (i = next++) < pieces.size();) {
      try {
        read_piece(pieces[i], buffer);
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
  if (!buffers.empty()) work(buffers[0]);
}

}  // namespace

std::vector<FileDigest> file_digests(std::span<const fs::path> paths) {
  std::vector<Piece> pieces = pieces_of(paths);
  read_all(pieces);
  std::vector<FileDigest> digests(paths.size());
  for (auto at = pieces.begin(); at != pieces.end();) {
    const auto end = std::find_if(at, pieces.end(),
                                  [&](const Piece& piece) { return piece.file != at->file; });
    FileDigest& of_file = digests[at->file];
    Sha256 hash;
    for (auto piece = at; piece != end; ++piece) {
      hash.update(piece->digest.data(), piece->digest.size());
      if (of_file.error == 0) of_file.error = piece->error;
    }
    of_file.hex = hex(end - at == 1 ? at->digest : hash.finish());
    at = end;
  }
  return digests;
}

}  // namespace deltaport
