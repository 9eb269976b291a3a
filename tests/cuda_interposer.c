// Stands between the operator library, ONNX Runtime and the emulated CUDA runtime: notes the stream of every launch and fill,
// makes one fail if told to, captures graphs, which the emulator cannot, and lets one thread at a time into the emulator,
// which is not made for more. Loaded before the runtime, so that its functions are found first.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  unsigned x, y, z;
} Dim3;

enum { kLaunchFailure = 719, kCaptureUnsupported = 900, kMost = 4096 };

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

// ---- Graphs. Work that is captured does not run; whatever cannot be captured is refused, as by CUDA.

enum { kArguments = 8, kBelow = 2048, kWindow = 8192 };

// A launch, or a fill where `kernel` is null. Nobody says how large arguments are: they lie in the caller's frame, so what is
// on the stack around the list of them is kept.
typedef struct Work {
  struct Work* next;
  const void* kernel;
  Dim3 grid, block;
  size_t shared;
  void* data;
  int byte;
  size_t size;
  void* arguments[kArguments];
  char stack[kWindow];
} Work;

static void* capturing = NULL;  // the stream
static Work *first = NULL, **last = &first;
static size_t launches = 0;

size_t interposer_graph_launches(void) { return launches; }

static Work* add_work(void) {
  Work* work = calloc(1, sizeof(Work));
  *last = work;
  last = &work->next;
  return work;
}

static int capture_launch(const void* kernel, Dim3 grid, Dim3 block, void** arguments, size_t shared, void* stream) {
  if (stream != capturing) return kCaptureUnsupported;
  Work* work = add_work();
  work->kernel = kernel;
  work->grid = grid;
  work->block = block;
  work->shared = shared;
  const char* bottom = (const char*)arguments - kBelow;
  memcpy(work->stack, bottom, kWindow);
  for (int i = 0; i < kArguments; ++i) {
    const ptrdiff_t place = (const char*)arguments[i] - bottom;  // of what is no argument: anything
    if (place >= 0 && place < kWindow) work->arguments[i] = work->stack + place;
  }
  return 0;
}

static int capture_fill(void* data, int byte, size_t size, void* stream) {
  if (stream != capturing) return kCaptureUnsupported;
  Work* work = add_work();
  work->data = data;
  work->byte = byte;
  work->size = size;
  return 0;
}

int cudaStreamBeginCapture(void* stream, int mode) {
  (void)mode;
  capturing = stream;
  first = NULL;
  last = &first;
  return 0;
}
int cudaStreamIsCapturing(void* stream, int* status) {
  *status = capturing != NULL && stream == capturing;
  return 0;
}
int cudaStreamEndCapture(void* stream, void** graph) {
  (void)stream;
  capturing = NULL;
  *graph = first;
  return 0;
}
int cudaGraphInstantiate(void** executable, void* graph, unsigned long long flags) {
  (void)flags;
  *executable = graph;
  return 0;
}
int cudaGraphDestroy(void* graph) {
  (void)graph;
  return 0;
}
int cudaGraphExecDestroy(void* executable) {
  for (Work* work = executable; work != NULL;) {
    Work* after = work->next;
    free(work);
    work = after;
  }
  return 0;
}

// Calls the runtime's function of that name, unless `failing`. What `captured` says is done instead while a graph is captured.
#define FORWARD_OR(name, types, values, failing, captured)                                                         \
  pthread_mutex_lock(&mutex);                                                                                      \
  const int error = capturing ? (captured) : (failing) ? kLaunchFailure : ((int(*) types)next(name))values; \
  pthread_mutex_unlock(&mutex);                                                                                    \
  return error
#define FORWARD(name, types, values) FORWARD_OR(name, types, values, 0, kCaptureUnsupported)

int cudaLaunchKernel(const void* kernel, Dim3 grid, Dim3 block, void** arguments, size_t shared, void* stream) {
  FORWARD_OR("cudaLaunchKernel", (const void*, Dim3, Dim3, void**, size_t, void*),
             (kernel, grid, block, arguments, shared, stream), fails(stream),
             capture_launch(kernel, grid, block, arguments, shared, stream));
}

int cudaMemsetAsync(void* data, int byte, size_t size, void* stream) {
  FORWARD_OR("cudaMemsetAsync", (void*, int, size_t, void*), (data, byte, size, stream), fails(stream),
             capture_fill(data, byte, size, stream));
}

int cudaGraphLaunch(void* executable, void* stream) {
  ++launches;
  for (Work* work = executable; work != NULL; work = work->next) {
    const int error = work->kernel ? cudaLaunchKernel(work->kernel, work->grid, work->block, work->arguments, work->shared, stream)
                                   : cudaMemsetAsync(work->data, work->byte, work->size, stream);
    if (error) return error;
  }
  return 0;
}

int cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, void* stream) {
  FORWARD("cudaMemcpyAsync", (void*, const void*, size_t, int, void*), (to, from, size, kind, stream));
}

int cudaMemcpy(void* to, const void* from, size_t size, int kind) {
  FORWARD("cudaMemcpy", (void*, const void*, size_t, int), (to, from, size, kind));
}

int cudaMalloc(void** block, size_t size) { FORWARD("cudaMalloc", (void**, size_t), (block, size)); }

int cudaFree(void* block) { FORWARD("cudaFree", (void*), (block)); }

int cudaStreamSynchronize(void* stream) { FORWARD("cudaStreamSynchronize", (void*), (stream)); }

int cudaDeviceSynchronize(void) { FORWARD("cudaDeviceSynchronize", (void), ()); }

int cudaEventSynchronize(void* event) { FORWARD("cudaEventSynchronize", (void*), (event)); }
