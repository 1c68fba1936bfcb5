namespace AttentionDistillation.Benchmarks;

/// <summary>A command of the program.</summary>
/// <param name="Name">What it is called by.</param>
/// <param name="Usage">Its options.</param>
/// <param name="Purpose">What it measures, in one sentence.</param>
/// <param name="Run">Runs it on the options; the exit code.</param>
internal sealed record BenchmarkCommand(string Name, string Usage, string Purpose, Func<Arguments, int> Run);
