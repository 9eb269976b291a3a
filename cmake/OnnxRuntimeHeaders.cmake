# Finds the headers of ONNX Runtime, which no Python package carries. In this order:
#   1. the variable (CMake or environment) ONNXRUNTIME_INCLUDE_DIR;
#   2. an installed libonnxruntime-dev or a similar package;
#   3. Debian's libonnxruntime-dev, downloaded through the machine's own mirror and unpacked here;
#   4. ONNX Runtime's release archive, downloaded.
set(ONNXRUNTIME_RELEASE "1.21.0" CACHE STRING "Release whose headers are downloaded where none are installed")
set(_header onnxruntime_cxx_api.h)

if(NOT ONNXRUNTIME_INCLUDE_DIR AND DEFINED ENV{ONNXRUNTIME_INCLUDE_DIR})
  set(ONNXRUNTIME_INCLUDE_DIR "$ENV{ONNXRUNTIME_INCLUDE_DIR}" CACHE PATH "Folder of onnxruntime_cxx_api.h")
endif()
if(ONNXRUNTIME_INCLUDE_DIR AND NOT EXISTS "${ONNXRUNTIME_INCLUDE_DIR}/${_header}")
  message(FATAL_ERROR "ONNXRUNTIME_INCLUDE_DIR is ${ONNXRUNTIME_INCLUDE_DIR}, but ${_header} is not there")
endif()

set(_downloads "${CMAKE_BINARY_DIR}/onnxruntime-headers")
set(_places "${_downloads}/unpacked/usr/include/onnxruntime" "${_downloads}/onnxruntime-linux-x64-${ONNXRUNTIME_RELEASE}/include")

macro(_find_headers)
  find_path(ONNXRUNTIME_INCLUDE_DIR ${_header} HINTS ${_places}
    PATH_SUFFIXES onnxruntime onnxruntime/core/session)
endmacro()

_find_headers()
if(NOT ONNXRUNTIME_INCLUDE_DIR)
  message(STATUS "ONNX Runtime's headers are not installed: asking Debian's package")
  file(MAKE_DIRECTORY "${_downloads}")
  execute_process(COMMAND sh "${CMAKE_CURRENT_LIST_DIR}/fetch_headers_debian.sh" "${_downloads}"
    RESULT_VARIABLE _failed OUTPUT_VARIABLE _debian_log ERROR_VARIABLE _debian_log)
  _find_headers()
endif()
if(NOT ONNXRUNTIME_INCLUDE_DIR)
  set(_archive "https://github.com/microsoft/onnxruntime/releases/download/v${ONNXRUNTIME_RELEASE}/onnxruntime-linux-x64-${ONNXRUNTIME_RELEASE}.tgz")
  message(STATUS "Downloading ${_archive}")
  file(DOWNLOAD "${_archive}" "${_downloads}/release.tgz" STATUS _status TIMEOUT 300)
  list(GET _status 0 _failed)
  if(NOT _failed)
    file(ARCHIVE_EXTRACT INPUT "${_downloads}/release.tgz" DESTINATION "${_downloads}" PATTERNS "*/include/*")
  endif()
  _find_headers()
endif()
if(NOT ONNXRUNTIME_INCLUDE_DIR)
  message(FATAL_ERROR "ONNX Runtime's C++ headers were not found and could not be downloaded.\n"
    "Install them (apt-get install libonnxruntime-dev) or name their folder: "
    "cmake -DONNXRUNTIME_INCLUDE_DIR=..., or the environment variable of that name.\n"
    "Debian's package: ${_debian_log}\nRelease archive: ${_status}")
endif()
message(STATUS "ONNX Runtime headers: ${ONNXRUNTIME_INCLUDE_DIR}")
