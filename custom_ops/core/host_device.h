// Marks functions that are compiled for CUDA devices too.
#pragma once

#ifdef __CUDACC__
#define DRPASS_HOST_DEVICE __host__ __device__
#else
#define DRPASS_HOST_DEVICE
#endif
