"""One model fitted by several processes, on several devices or machines."""

from skmm.distributed._data_parallel import data_parallel

__all__ = ["data_parallel"]
