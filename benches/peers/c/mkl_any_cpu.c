// Loaded before PyTorch: MKL asks these whether the CPU is of its vendor before it takes its AVX-512 path.
int mkl_serv_intel_cpu(void) { return 1; }
int mkl_serv_intel_cpu_true(void) { return 1; }
