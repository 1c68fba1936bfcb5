using System.Reflection;
using AttentionDistillation.Benchmarks;

// A command is a static class of this program with a static property Command; nothing is listed here.
var commands = typeof(BenchmarkCommand)
    .Assembly.GetTypes()
    .Select(type => type.GetProperty("Command", BindingFlags.Static | BindingFlags.NonPublic)?.GetValue(null))
    .OfType<BenchmarkCommand>()
    .OrderBy(command => command.Name, StringComparer.Ordinal)
    .ToArray();
if (commands.FirstOrDefault(command => command.Name == args.FirstOrDefault()) is { } chosen)
    return chosen.Run(args[1..]);
Console.Error.WriteLine("Usage: AttentionDistillation.Benchmarks COMMAND [OPTION ...]");
foreach (var command in commands)
    Console.Error.WriteLine($"\n  {command.Name} {command.Usage}\n      {command.Purpose}");
return 2;
