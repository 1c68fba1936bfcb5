using AttentionDistillation.Benchmarks;

switch (args.FirstOrDefault())
{
    case "relation-check":
        return RelationCheck.Run(args[1..]);
    case "kernel-check":
        return KernelCheck.Run();
    default:
        Console.Error.WriteLine(
            """
            Usage: AttentionDistillation.Benchmarks relation-check [--device cpu|cuda] [--only accuracy|backward|speed]
                   AttentionDistillation.Benchmarks relation-check --one floor|flash|cudnn|fused|blockwise|dense --shape BxL
                   AttentionDistillation.Benchmarks kernel-check
              kernel-check     our CUDA kernels beside libtorch's operators: errors, times, memory
              relation-check   every form and kernel of the attention relation against float64, then times and memory
            """
        );
        return 2;
}
