"""Where inputs come from: pictures in folders and archives, arrays, generators, shipped photographs, random numbers."""

from drpass.data.arrays import array_files, read_arrays
from drpass.data.dataset import Batch, Data, batch_size
from drpass.data.preprocess import Preprocess
from drpass.data.selection import LabelsFrom
from drpass.data.sources import DataSource, as_data, open_data
from drpass.data.split import Split, open_split

__all__ = [
    "Batch",
    "Data",
    "DataSource",
    "LabelsFrom",
    "Preprocess",
    "Split",
    "array_files",
    "as_data",
    "batch_size",
    "open_data",
    "open_split",
    "read_arrays",
]
