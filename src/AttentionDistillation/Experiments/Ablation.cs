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
/// the others go on; failures are not kept, so a rerun tries them again. Processes that run the same ablation over the same cache at the same time
/// share its cells: each computes those that no other has begun, and waits for the rest.
/// </summary>
/// <param name="study">The study's slug, for example <c>01-minilm</c>.</param>
/// <param name="settings">Scale and device; cells of other scales and kinds of device are other cells.</param>
/// <param name="options">How cells are kept; null means the defaults.</param>
public sealed class Ablation(string study, RunSettings settings, AblationOptions? options = null)
{
    /// <summary>
    /// Name of the environment variable that, set to 1, makes a process only help another one that runs the same notebook: its ablations end with an
    /// <see cref="AblationWorkerException"/> when all cells are there. <c>research run --workers</c> sets it.
    /// </summary>
    public const string WorkerVariable = "RESEARCH_WORKER";

    private static readonly TimeSpan MemoryInterval = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(200);
    private readonly AblationOptions options = options ?? new();
    private readonly string device = RunMetadata.KindOf(settings);

    private static bool IsWorker => Environment.GetEnvironmentVariable(WorkerVariable) == "1";

    /// <summary>Computes the missing cells in order, variant by variant.</summary>
    /// <param name="variants">The variants' names, each once.</param>
    /// <param name="seeds">The seeds, each once.</param>
    /// <param name="cell">Computes the metrics of a (variant, seed).</param>
    /// <exception cref="ArgumentException">There is no variant or seed, or one occurs twice.</exception>
    /// <exception cref="AblationInterruptedException">A stop was requested (<see cref="Interruption"/>); the cells done are kept.</exception>
    /// <exception cref="AblationWorkerException">All cells are there, and this process only helps (<see cref="WorkerVariable"/>).</exception>
    public AblationResult Run(
        IEnumerable<string> variants,
        IEnumerable<long> seeds,
        Func<string, long, IReadOnlyDictionary<string, double>> cell
    )
    {
        ArgumentNullException.ThrowIfNull(cell);
        var (names, numbers) = (Distinct(variants, nameof(variants)), Distinct(seeds, nameof(seeds)));
        var cache = new CellCache(options.Folder);
        var (found, failures, notes) = (
            new Dictionary<(string, long), AblationCell>(),
            new List<AblationFailure>(),
            new List<string>()
        );
        var open = new List<(string Variant, long Seed)>(names.SelectMany(name => numbers.Select(seed => (name, seed))));
        int total = open.Count;
        using var progress = Progress.Start(study, total, "cell");
        while (open.Count > 0)
        {
            int before = open.Count;
            open.RemoveAll(Settled);
            if (open.Count == before)
                WaitForOthers();
        }
        progress.Report(total, failures.Count == 0 ? "all cells done" : $"{failures.Count} cells failed");
        return IsWorker ? throw new AblationWorkerException(Result()) : Result();

        // False for a cell that another process is computing.
        bool Settled((string Variant, long Seed) which)
        {
            try
            {
                Interruption.ThrowIfRequested();
                if (KeptOrNew(which.Variant, which.Seed, Computed, cache, notes) is not { } settled)
                    return false;
                found.Add(which, settled);
            }
            catch (OperationCanceledException stop)
            {
                throw new AblationInterruptedException(Result(), stop);
            }
            catch (Exception error)
            {
                failures.Add(new(which.Variant, which.Seed, error.GetType().FullName!, error.Message, error.ToString()));
            }
            return true;
        }

        IReadOnlyDictionary<string, double> Computed(string variant, long seed)
        {
            int done = found.Count + failures.Count;
            progress.Report(done, $"cell {done + 1} of {total}: {variant}, seed {seed}");
            return cell(variant, seed);
        }

        void WaitForOthers()
        {
            progress.Report(found.Count + failures.Count, $"other processes compute the last {open.Count} of {total} cells");
            Thread.Sleep(PollInterval);
        }

        AblationResult Result() =>
            new(
                study,
                names,
                numbers,
                [
                    .. names.SelectMany(name =>
                        numbers.Where(seed => found.ContainsKey((name, seed))).Select(seed => found[(name, seed)])
                    ),
                ],
                failures,
                [.. notes.Distinct()]
            );
    }

    // A kept cell, or a new one; null while another process computes it.
    private AblationCell? KeptOrNew(
        string variant,
        long seed,
        Func<string, long, IReadOnlyDictionary<string, double>> cell,
        CellCache cache,
        List<string> notes
    )
    {
        var key = new CellKey(
            study,
            RunMetadata.NameOf(settings.Scale),
            device,
            variant,
            seed,
            options.Fingerprint,
            options.CodeVersion
        );
        if (!options.Fresh && cache.TryRead(key, notes, out var kept))
            return kept;
        using var claim = CellClaim.Take(cache.PathOf(key), out bool isTaken);
        if (isTaken)
            return null;
        // Another process may have ended it between the two lines above.
        if (!options.Fresh && cache.TryRead(key, [], out kept))
            return kept;
        var made = Compute(variant, seed, cell);
        cache.Write(key, made, notes);
        return made;
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
