using System.Diagnostics;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Experiments;

/// <summary>How an ablation's cells are kept and measured.</summary>
public sealed record AblationOptions
{
    /// <summary>What else the numbers depend on: the configuration in words, for example a record's <c>ToString()</c>.</summary>
    public string Fingerprint { get; init; } = "";

    /// <summary>A version the notebook raises when the code behind its cells changes, so that old cells are not used.</summary>
    public string CodeVersion { get; init; } = "1";

    /// <summary>Where cells are kept; null means <c>cells</c> below <see cref="ResearchCache.Folder"/>.</summary>
    public string? CacheFolder { get; init; }

    /// <summary>True computes every cell, whatever is kept, and replaces what is kept.</summary>
    public bool Fresh { get; init; }

    /// <summary>
    /// Reads the device memory in use, in bytes; asked on the cell's thread when a cell ends. libtorch's allocator keeps what it took, so the
    /// figure is the most that this and the earlier cells of the process held.
    /// </summary>
    public Func<long?>? DeviceMemory { get; init; }

    internal string Folder => CacheFolder ?? ResearchCache.At("cells");
}

/// <summary>
/// Variants x seeds -> metrics. Each cell is computed once and kept on disk; a rerun computes what is missing. A cell that fails is reported and
/// the others go on; failures are not kept, so a rerun tries them again.
/// </summary>
/// <param name="study">The study's slug, for example <c>01-minilm</c>.</param>
/// <param name="settings">Scale and device; cells of other scales and kinds of device are other cells.</param>
/// <param name="options">How cells are kept; null means the defaults.</param>
public sealed class Ablation(string study, RunSettings settings, AblationOptions? options = null)
{
    private static readonly TimeSpan MemoryInterval = TimeSpan.FromMilliseconds(50);
    private readonly AblationOptions options = options ?? new();
    private readonly string device = RunMetadata.KindOf(settings);

    /// <summary>Computes the missing cells in order, variant by variant.</summary>
    /// <param name="variants">The variants' names, each once.</param>
    /// <param name="seeds">The seeds, each once.</param>
    /// <param name="cell">Computes the metrics of a (variant, seed).</param>
    /// <exception cref="ArgumentException">There is no variant or seed, or one occurs twice.</exception>
    /// <exception cref="AblationInterruptedException">A stop was requested (<see cref="Interruption"/>); the cells done are kept.</exception>
    public AblationResult Run(
        IEnumerable<string> variants,
        IEnumerable<long> seeds,
        Func<string, long, IReadOnlyDictionary<string, double>> cell
    )
    {
        ArgumentNullException.ThrowIfNull(cell);
        var (names, numbers) = (Distinct(variants, nameof(variants)), Distinct(seeds, nameof(seeds)));
        var cache = new CellCache(options.Folder);
        var (cells, failures, notes) = (new List<AblationCell>(), new List<AblationFailure>(), new List<string>());
        long total = names.Length * numbers.LongLength,
            done = 0;
        using var progress = Progress.Start(study, total, "cell");
        foreach (string variant in names)
        foreach (long seed in numbers)
        {
            progress.Report(done, $"cell {done + 1} of {total}: {variant}, seed {seed}");
            var key = new CellKey(
                study,
                RunMetadata.NameOf(settings.Scale),
                device,
                variant,
                seed,
                options.Fingerprint,
                options.CodeVersion
            );
            try
            {
                Interruption.ThrowIfRequested();
                if (options.Fresh || !cache.TryRead(key, notes, out var found))
                {
                    found = Compute(variant, seed, cell);
                    cache.Write(key, found, notes);
                }
                cells.Add(found);
            }
            catch (OperationCanceledException stop)
            {
                throw new AblationInterruptedException(Result(), stop);
            }
            catch (Exception error)
            {
                failures.Add(new(variant, seed, error.GetType().FullName!, error.Message, error.ToString()));
            }
            done++;
        }
        progress.Report(done, failures.Count == 0 ? "all cells done" : $"{failures.Count} cells failed");
        return Result();

        AblationResult Result() => new(study, names, numbers, cells, failures, notes);
    }

    private AblationCell Compute(string variant, long seed, Func<string, long, IReadOnlyDictionary<string, double>> cell)
    {
        long peak = Environment.WorkingSet;
        var clock = Stopwatch.StartNew();
        IReadOnlyDictionary<string, double> metrics;
        // The working set has no resettable peak on all systems, so it is looked at while the cell runs.
        using (new Timer(_ => peak = Math.Max(peak, Environment.WorkingSet), null, MemoryInterval, MemoryInterval))
            metrics = cell(variant, seed);
        double seconds = clock.Elapsed.TotalSeconds;
        if (metrics is null || metrics.Count == 0)
            throw new InvalidOperationException("The cell returned no metrics. Return at least one.");
        var copy = metrics.ToDictionary(pair => pair.Key, pair => pair.Value);
        return new(
            variant,
            seed,
            copy,
            seconds,
            Math.Max(peak, Environment.WorkingSet),
            options.DeviceMemory?.Invoke(),
            FromCache: false
        );
    }

    private static T[] Distinct<T>(IEnumerable<T> items, string name)
    {
        T[] array = [.. items];
        if (array.Length == 0)
            throw new ArgumentException($"An ablation needs at least one of its {name}.", name);
        if (array.Distinct().Count() != array.Length)
            throw new ArgumentException($"One of the {name} occurs twice: {string.Join(", ", array)}.", name);
        return array;
    }
}
