// Ways of writing that only C++ programs have: scattered, gathered, in pages, many at a time.
// Called with the URL of a file to make; prints what came of each call.

#include <condition_variable>
#include <cstdint>
#include <iostream>
#include <mutex>
#include <numeric>
#include <string>
#include <sys/uio.h>
#include <vector>

#include <XrdCl/XrdClFile.hh>
#include <XrdCl/XrdClFileSystem.hh>

using XrdCl::ChunkInfo;
using XrdCl::ChunkList;
using XrdCl::File;
using XrdCl::OpenFlags;
using XrdCl::XRootDStatus;

static void tell(const std::string &what, const XRootDStatus &status) {
  std::cout << what << " ";
  if (status.IsOK()) std::cout << "ok" << std::endl;
  else std::cout << status.code << " " << status.errNo << std::endl;
}

// Counts answers that come in any order.
class Answers : public XrdCl::ResponseHandler {
 public:
  void HandleResponse(XRootDStatus *status, XrdCl::AnyObject *response) override {
    std::lock_guard<std::mutex> lock(mutex_);
    good_ += status->IsOK();
    all_ += 1;
    delete status;
    delete response;
    came_.notify_one();
  }

  int WaitFor(int number) {
    std::unique_lock<std::mutex> lock(mutex_);
    came_.wait(lock, [&] { return all_ == number; });
    return good_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  int all_ = 0, good_ = 0;
};

static std::vector<char> content(size_t size, unsigned seed) {
  std::vector<char> made(size);
  for (size_t at = 0; at < size; ++at) made[at] = static_cast<char>((at * 31 + at / 251 + seed) & 0xff);
  return made;
}

static unsigned long sum(const char *data, size_t size) {
  return std::accumulate(data, data + size, 5381ul,
                         [](unsigned long hash, char byte) { return (hash * 33 + (byte & 0xff)) & 0xffffffff; });
}

static void read_back(File &file) {
  XrdCl::StatInfo *info = nullptr;
  tell("stat", file.Stat(true, info));
  if (info == nullptr) return;
  std::vector<char> buffer(info->GetSize() + 1);
  uint32_t bytes = 0;
  tell("read", file.Read(0, buffer.size(), buffer.data(), bytes));
  std::cout << "size " << info->GetSize() << " read " << bytes << " sum " << sum(buffer.data(), bytes) << std::endl;
  delete info;
}

static void read_scattered(File &file) {
  std::vector<char> buffer(1024 * 4000);
  ChunkList chunks;
  for (uint64_t number = 0; number < 1024; ++number) chunks.emplace_back(number * 5000, 4000, nullptr);
  XrdCl::VectorReadInfo *info = nullptr;
  tell("VectorRead", file.VectorRead(chunks, buffer.data(), info));
  std::cout << "sum " << sum(buffer.data(), buffer.size()) << std::endl;
  delete info;
}

static void scattered(File &file) {
  auto data = content(2'000'000, 1);
  ChunkList chunks;
  for (uint64_t number = 0; number < 1000; ++number)
    chunks.emplace_back((999 - number) * 3000, 1500, data.data() + number * 1500);
  tell("VectorWrite", file.VectorWrite(chunks));
  ChunkList large;
  for (uint64_t number = 0; number < 4; ++number) large.emplace_back(3'000'000 + number * 600'000, 500'000, data.data());
  tell("VectorWrite large", file.VectorWrite(large));
  read_back(file);
}

static void gathered(File &file) {
  auto data = content(300'000, 2);
  std::vector<iovec> parts;
  for (size_t number = 0; number < 100; ++number) parts.push_back({data.data() + number * 3000, 2999});
  tell("WriteV", file.WriteV(100'000, parts.data(), parts.size()));
  read_back(file);
}

static void in_pages(File &file) {
  auto data = content(1'000'003, 3);
  std::vector<uint32_t> checksums;
  tell("PgWrite", file.PgWrite(0, 1'000'003, data.data(), checksums));
  tell("PgWrite off a page", file.PgWrite(1'000'003, 50'000, data.data(), checksums));
  tell("PgWrite over", file.PgWrite(4095, 2, data.data(), checksums));
  std::vector<char> buffer(1'000'003);
  uint32_t bytes = 0;
  tell("PgRead", file.PgRead(0, buffer.size(), buffer.data(), checksums, bytes));
  std::cout << bytes << " in " << checksums.size() << " sum " << sum(buffer.data(), bytes) << std::endl;
  tell("PgRead off a page", file.PgRead(5000, 10'000, buffer.data(), checksums, bytes));
  std::cout << bytes << " in " << checksums.size() << " sum " << sum(buffer.data(), bytes) << std::endl;
  read_back(file);
}

static void damaged(File &file) {
  auto data = content(1'000'003, 5);
  std::vector<uint32_t> checksums(245, 7);
  tell("PgWrite with wrong checksums", file.PgWrite(0, 1'000'003, data.data(), checksums));
}

static void many_at_a_time(File &file) {
  auto data = content(64'000, 4);
  Answers answers;
  for (uint64_t number = 0; number < 400; ++number)
    if (!file.Write((number * 7 % 400) * 64'000, 64'000, data.data(), &answers).IsOK()) std::cout << "not sent" << std::endl;
  std::cout << "good " << answers.WaitFor(400) << std::endl;
  tell("Sync", file.Sync());
  read_back(file);
  read_scattered(file);
}

int main(int, char **argv) {
  const std::string url = argv[1];
  const std::vector<std::pair<std::string, void (*)(File &)>> steps = {
      {"scattered", scattered}, {"gathered", gathered}, {"pages", in_pages},
      {"damaged", damaged},     {"many", many_at_a_time}};
  for (const auto &[name, step] : steps) {
    std::cout << "--- " << name << std::endl;
    File file;
    tell("open", file.Open(url + name, OpenFlags::New | OpenFlags::Update | OpenFlags::MakePath));
    step(file);
    tell("close", file.Close());
  }
  std::cout << "--- again" << std::endl;
  File file;
  tell("open", file.Open(url + "many", OpenFlags::Read));
  read_scattered(file);
  read_back(file);
  tell("close", file.Close());
}
