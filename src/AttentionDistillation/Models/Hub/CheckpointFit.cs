using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>A model and the checkpoint whose tensors fit it, one for one.</summary>
internal sealed class CheckpointFit
{
    private const int ComparedBytes = 1 << 26;

    private readonly IReadOnlyDictionary<string, Tensor> wanted;
    private readonly Dictionary<string, string> pairs;
    private readonly ICheckpoint checkpoint;

    private CheckpointFit(IReadOnlyDictionary<string, Tensor> wanted, Dictionary<string, string> pairs, ICheckpoint checkpoint) =>
        (this.wanted, this.pairs, this.checkpoint) = (wanted, pairs, checkpoint);

    /// <summary>Pairs the model's tensors with the file's and refuses the whole unless everything fits.</summary>
    /// <exception cref="CheckpointMismatchException">Tensors are missing, unexpected or of the wrong shape; the message lists all of them.</exception>
    /// <exception cref="ArgumentException">Tensors that the configuration ties differ in the file.</exception>
    public static CheckpointFit Of(IHubModel model, ICheckpoint checkpoint)
    {
        var fit = Of(
            model.Architecture,
            model.HubParameters(),
            checkpoint,
            model.CanonicalName,
            name => model.IsHarmlessExtra(name) || model.TiedNames.ContainsKey(name)
        );
        fit.CheckTied(model);
        return fit;
    }

    /// <summary>The same for tensors under the names of the file.</summary>
    /// <param name="architecture">The model, for messages.</param>
    /// <param name="wanted">What the model needs, by the file's names.</param>
    /// <param name="checkpoint">The file.</param>
    /// <param name="canonical">The present-day form of a name.</param>
    /// <param name="isHarmless">True for a tensor that may lie there unused.</param>
    /// <exception cref="CheckpointMismatchException">Tensors are missing, unexpected or of the wrong shape; the message lists all of them.</exception>
    public static CheckpointFit Of(
        string architecture,
        IReadOnlyDictionary<string, Tensor> wanted,
        ICheckpoint checkpoint,
        Func<string, string> canonical,
        Func<string, bool> isHarmless
    )
    {
        var pairs = new Dictionary<string, string>(StringComparer.Ordinal);
        var found = new HashSet<string>(StringComparer.Ordinal);
        var unexpected = new List<string>();
        var shapes = new List<string>();
        foreach (var (name, entry) in checkpoint.Entries)
        {
            string known = canonical(name);
            if (!wanted.TryGetValue(known, out var parameter))
            {
                if (!isHarmless(known))
                    unexpected.Add($"{name} {entry.Description}");
                continue;
            }
            if (!found.Add(known))
                unexpected.Add($"{name} {entry.Description} (a second tensor of {known})");
            else if (!entry.Shape.SequenceEqual(parameter.shape))
                shapes.Add($"{name} is {entry.Description}, expected {Shapes.Describe(parameter)}");
            else
                pairs[known] = name;
        }
        string[] missing =
        [
            .. wanted.Where(pair => !found.Contains(pair.Key)).Select(pair => $"{pair.Key} {Shapes.Describe(pair.Value)}"),
        ];
        if (missing.Length + unexpected.Count + shapes.Count > 0)
            throw new CheckpointMismatchException(checkpoint.Path, architecture, missing, unexpected, shapes);
        return new CheckpointFit(wanted, pairs, checkpoint);
    }

    /// <summary>Copies the file's tensors into the model's, one after another.</summary>
    /// <param name="copies">Copies a tensor that lies otherwise in the file, by its name there, and says so; null when none does.</param>
    public void Fill(Func<string, Tensor, bool>? copies = null)
    {
        foreach (var (name, tensor) in wanted)
            if (copies?.Invoke(pairs[name], tensor) != true)
                checkpoint.CopyTo(pairs[name], tensor);
    }

    /// <summary>Refuses a checkpoint whose configuration ties tensors that differ in the file: loading it either way would be a guess.</summary>
    private void CheckTied(IHubModel model)
    {
        foreach (string name in checkpoint.Entries.Keys)
            if (
                model.TiedNames.TryGetValue(model.CanonicalName(name), out string? source)
                && pairs.TryGetValue(source, out string? first)
                && !Same(first, name)
            )
                throw new ArgumentException(
                    $"'{checkpoint.Path}' holds '{name}', which differs from '{first}', but its {Hub.ConfigFile} ties the two. "
                        + "Set tie_word_embeddings to false there to use both."
                );
    }

    private bool Same(string first, string second)
    {
        var (one, two) = (checkpoint.Entries[first], checkpoint.Entries[second]);
        if (!one.Shape.SequenceEqual(two.Shape))
            return false;
        // Where they lie: a word table is too large to copy twice only to compare it.
        if (one.Type == two.Type && SameBytes(first, second, one.Length))
            return true;
        using var scope = NewDisposeScope();
        return checkpoint.Read(first).eq(checkpoint.Read(second)).all().ToBoolean();
    }

    private bool SameBytes(string first, string second, long length)
    {
        for (long done = 0; done < length; done += ComparedBytes)
        {
            int part = (int)Math.Min(ComparedBytes, length - done);
            if (!checkpoint.Bytes(first, done, part).SequenceEqual(checkpoint.Bytes(second, done, part)))
                return false;
        }
        return true;
    }
}
