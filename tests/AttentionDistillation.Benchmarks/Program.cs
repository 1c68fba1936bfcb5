using AttentionDistillation.Benchmarks;
using BenchmarkDotNet.Running;

// Options alone are BenchmarkDotNet's: --filter, --list, --job.
if (args.Length > 0 && args[0].StartsWith("--", StringComparison.Ordinal))
{
    BenchmarkSwitcher.FromAssembly(typeof(RelationBenchmarks).Assembly).Run(args);
    return 0;
}
var rest = new Arguments(args.Skip(1));
switch (args.FirstOrDefault())
{
    case "speed":
        return SpeedCommand.Run(rest);
    case "chart":
        return SpeedChart.Run(rest);
    case "relation-check":
        return RelationCheck.Run(rest);
    case "relation-times":
        return RelationTimes.Run(rest);
    case "relation-profile":
        return RelationProfile.Run(rest);
    case "relation-cpu":
        return RelationOnCpu.Run(rest);
    case "kernel-check":
        return KernelCheck.Run();
    default:
        Console.Error.WriteLine(
            """
            Usage: AttentionDistillation.Benchmarks COMMAND [OPTION ...]
              speed [--peers FOLDER] [--out FOLDER] [--device cuda|cpu] [--shapes 8x2048,...] [--skip relation|step|peers,...]
                  the attention relation's KL and whole MiniLM steps, ours and PyTorch's, in one run; writes tables and a chart
              chart [--from FOLDER] [--to FILE.svg]
                  the chart from the tables
              relation-check [--device cpu|cuda] [--only KERNEL,...] [--cases NAME,...]
                  every form and kernel of the relation against float64: errors beside those of the definition in the same dtype
              relation-times --what floor|fused|padded|causal|warp|library|blockwise|dense [--shapes BxL,...] [--device cpu|cuda]
                  one form over shapes: least of several times, memory
              relation-profile [--shapes BxL,...]
                  where the time of one relation goes, call by call
              relation-cpu [--length N] [--pairs N]
                  the definition and our form in turns on the CPU: ratio of times, and of memory
              kernel-check
                  our CUDA kernels beside libtorch's operators: errors, times, memory
              --filter '*Relation*'
                  benchmarks of the CPU under BenchmarkDotNet (--list flat names them)
            """
        );
        return 2;
}
