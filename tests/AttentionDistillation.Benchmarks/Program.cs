using System.Reflection;
using AttentionDistillation.Benchmarks;
using BenchmarkDotNet.Running;

// Options alone are BenchmarkDotNet's: --filter, --list, --job.
if (args.Length > 0 && args[0].StartsWith("--", StringComparison.Ordinal))
{
    BenchmarkSwitcher.FromAssembly(typeof(BenchmarkCommand).Assembly).Run(args);
    return 0;
}

// A command is a static class of this program with a static property Command; nothing is listed here.
var commands = typeof(BenchmarkCommand)
    .Assembly.GetTypes()
    .Select(type => type.GetProperty("Command", BindingFlags.Static | BindingFlags.NonPublic)?.GetValue(null))
    .OfType<BenchmarkCommand>()
    .OrderBy(command => command.Name, StringComparer.Ordinal)
    .ToArray();
if (commands.FirstOrDefault(command => command.Name == args.FirstOrDefault()) is { } chosen)
    return chosen.Run(new Arguments(args.Skip(1)));
Console.Error.WriteLine(
    "Usage: AttentionDistillation.Benchmarks COMMAND [OPTION ...], or --filter '*Relation*' for benchmarks of the CPU under BenchmarkDotNet"
);
foreach (var command in commands)
    Console.Error.WriteLine($"\n  {command.Name} {command.Usage}\n      {command.Purpose}");
return 2;
