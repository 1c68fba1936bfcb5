// libtorch's global generators and TorchSharp's counts of live tensors are shared by all threads: tests run one after another.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
