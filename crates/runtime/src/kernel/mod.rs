//! Kernels: typed expressions to Arrow arrays.
