# Whether the library gets kernels for CUDA. DRPASS_CUDA: AUTO (where nvcc is found), ON or OFF.
# The usual variables of CMake choose more: CMAKE_CUDA_ARCHITECTURES, CMAKE_CUDA_RUNTIME_LIBRARY, CMAKE_CUDA_FLAGS.
set(DRPASS_CUDA "AUTO" CACHE STRING "Kernels for CUDA: AUTO, ON or OFF")
set_property(CACHE DRPASS_CUDA PROPERTY STRINGS AUTO ON OFF)
set(DRPASS_WITH_CUDA OFF)

if(NOT DRPASS_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(DRPASS_WITH_CUDA ON)
  elseif(NOT DRPASS_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "DRPASS_CUDA is ${DRPASS_CUDA}, but nvcc was not found. Install the CUDA toolkit, name the "
      "compiler (cmake -DCMAKE_CUDA_COMPILER=...), or build without (cmake -DDRPASS_CUDA=OFF).")
  endif()
endif()

if(DRPASS_WITH_CUDA)
  # Code for every generation since Turing, and PTX for those to come.
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90-real 100-real 120)
  endif()
  # Static, so that the library loads where there is no driver.
  if(NOT CMAKE_CUDA_RUNTIME_LIBRARY)
    set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  endif()
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  set(CMAKE_CUDA_FLAGS_INIT "--compress-mode=size") # code for all generations in the room of one
  enable_language(CUDA)
  message(STATUS "CUDA: kernels for ${CMAKE_CUDA_ARCHITECTURES}")
else()
  message(STATUS "CUDA: the library is for CPUs alone (nvcc was not found, or DRPASS_CUDA is OFF)")
endif()
