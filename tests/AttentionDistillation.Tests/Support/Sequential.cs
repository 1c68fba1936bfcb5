// libtorch's global generators and TorchSharp's counts of live tensors are shared by all threads: tests run one after another.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
