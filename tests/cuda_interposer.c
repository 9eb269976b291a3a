// Stands between the operator library, ONNX Runtime and the emulated CUDA runtime: notes the stream of every launch and fill,
// makes one fail if told to, and lets one thread at a time into the emulator, which is not made for more. Loaded before the
// runtime, so that its functions are found first.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

typedef struct {
  unsigned x, y, z;
} Dim3;

enum { kLaunchFailure = 719, kMost = 4096 };

static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;  // the runtime calls itself, too
static int countdown = -1;
static void* streams[kMost];
static size_t count = 0;

static void* next(const char* name) {
  void* runtime = dlopen("libcudart.so.13", RTLD_NOW | RTLD_NOLOAD);
  return runtime ? dlsym(runtime, name) : NULL;
}

static int fails(void* stream) {
  if (count < kMost) streams[count++] = stream;
  return countdown >= 0 && countdown-- == 0;
}

// The work number `work` from now on fails; -1: none. Forgets the streams.
void interposer_reset(int work) {
  countdown = work;
  count = 0;
}
size_t interposer_count(void) { return count; }
void* interposer_stream(size_t index) { return streams[index]; }

// Calls the runtime's function of that name, unless `failing`.
#define FORWARD(name, types, values, failing)                                     \
  pthread_mutex_lock(&mutex);                                                     \
  const int error = (failing) ? kLaunchFailure : ((int(*) types)next(name))values; \
  pthread_mutex_unlock(&mutex);                                                   \
  return error

int cudaLaunchKernel(const void* kernel, Dim3 grid, Dim3 block, void** arguments, size_t shared, void* stream) {
  FORWARD("cudaLaunchKernel", (const void*, Dim3, Dim3, void**, size_t, void*),
          (kernel, grid, block, arguments, shared, stream), fails(stream));
}

int cudaMemsetAsync(void* data, int byte, size_t size, void* stream) {
  FORWARD("cudaMemsetAsync", (void*, int, size_t, void*), (data, byte, size, stream), fails(stream));
}

int cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, void* stream) {
  FORWARD("cudaMemcpyAsync", (void*, const void*, size_t, int, void*), (to, from, size, kind, stream), 0);
}

int cudaMemcpy(void* to, const void* from, size_t size, int kind) {
  FORWARD("cudaMemcpy", (void*, const void*, size_t, int), (to, from, size, kind), 0);
}

int cudaMalloc(void** block, size_t size) { FORWARD("cudaMalloc", (void**, size_t), (block, size), 0); }

int cudaFree(void* block) { FORWARD("cudaFree", (void*), (block), 0); }
