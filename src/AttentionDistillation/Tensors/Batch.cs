using System.Diagnostics.CodeAnalysis;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>One batch of examples: named tensors whose first axis is B.</summary>
/// <remarks>
/// Language: <see cref="InputIds"/> int64 [B, L], <see cref="Mask"/> bool [B, L] (true = real token), <see cref="TokenTypeIds"/> int64 [B, L],
/// <see cref="Labels"/> int64 [B] for classes or [B, L] with <see cref="IgnoredLabel"/> where nothing is asked. Other worlds add names of their own.
/// </remarks>
public sealed class Batch : IDisposable
{
    /// <summary>The label of positions that do not count, PyTorch's <c>ignore_index</c>.</summary>
    public const long IgnoredLabel = -100;

    private readonly Dictionary<string, Tensor> tensors = new(StringComparer.Ordinal);
    private readonly HashSet<string> hostNames = new(StringComparer.Ordinal);

    /// <summary>Creates a batch from named tensors.</summary>
    public Batch(params (string Name, Tensor Tensor)[] parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        foreach (var (name, tensor) in parts)
            this[name] = tensor;
    }

    /// <summary>The tensor of a name.</summary>
    /// <exception cref="KeyNotFoundException">No such name; the message lists the names there are.</exception>
    public Tensor this[string name]
    {
        get =>
            tensors.TryGetValue(name, out var tensor)
                ? tensor
                : throw new KeyNotFoundException($"The batch has no '{name}'. It has: {string.Join(", ", tensors.Keys)}.");
        set => tensors[name] = value ?? throw new ArgumentNullException(nameof(value), $"The tensor '{name}' is null.");
    }

    /// <summary>The names of the tensors.</summary>
    public IReadOnlyCollection<string> Names => tensors.Keys;

    /// <summary>Finds a tensor by name.</summary>
    public bool TryGet(string name, [NotNullWhen(true)] out Tensor? tensor) => tensors.TryGetValue(name, out tensor);

    /// <summary>Token numbers, int64 [B, L].</summary>
    public Tensor InputIds => this["input_ids"];

    /// <summary>Which tokens are real, bool [B, L]; null when none is padding.</summary>
    public Tensor? Mask => Optional("attention_mask");

    /// <summary>Segment numbers, int64 [B, L]; null when there is one segment.</summary>
    public Tensor? TokenTypeIds => Optional("token_type_ids");

    /// <summary>Labels, int64 [B] or [B, L].</summary>
    public Tensor Labels => this["labels"];

    /// <summary>Examples in the batch.</summary>
    public long Size => tensors.Values.First().shape[0];

    /// <summary>The names whose tensors stay on the host when the batch moves to a device.</summary>
    public IReadOnlyCollection<string> HostNames => hostNames;

    /// <summary>
    /// Lets a tensor stay on the host when the batch moves to a device, for numbers that the host reads in the step (which parts of a model run, a
    /// length): read from a device, they would make it wait for all work before. Gives the batch back.
    /// </summary>
    /// <exception cref="KeyNotFoundException">No such name; the message lists the names there are.</exception>
    public Batch KeepOnHost(string name)
    {
        _ = this[name];
        hostNames.Add(name);
        return this;
    }

    /// <summary>
    /// A copy on another device; tensors that are there already are shared. Copies from pinned memory (<see cref="Pin"/>) to CUDA only join the device's
    /// queue of work, so that the host goes on at once; all others wait until the device has done what was asked of it before.
    /// </summary>
    public Batch To(Device device) =>
        Like([
            .. tensors.Select(pair =>
                (
                    pair.Key,
                    hostNames.Contains(pair.Key) ? pair.Value.alias() : pair.Value.to(device, non_blocking: IsPinned(pair.Value))
                )
            ),
        ]);

    /// <summary>The same examples in page-locked memory, from which CUDA copies while the host goes on; tensors that are on a device are shared.</summary>
    /// <exception cref="InvalidOperationException">There is no CUDA device.</exception>
    public Batch Pin()
    {
        if (!cuda.is_available())
            throw new InvalidOperationException(
                "Pinned memory serves CUDA, and there is no such device. Use the batch as it is."
            );
        return Like([
            .. tensors.Select(pair =>
                (pair.Key, pair.Value.device_type == DeviceType.CPU ? pair.Value.pin_memory() : pair.Value.alias())
            ),
        ]);
    }

    private Batch Like((string Name, Tensor Tensor)[] parts)
    {
        var batch = new Batch(parts);
        batch.hostNames.UnionWith(hostNames);
        return batch;
    }

    private static bool IsPinned(Tensor tensor) =>
        tensor.device_type == DeviceType.CPU && cuda.is_available() && tensor.is_pinned();

    /// <summary>Frees the tensors.</summary>
    public void Dispose()
    {
        foreach (var tensor in tensors.Values)
            tensor.Dispose();
    }

    private Tensor? Optional(string name) => tensors.GetValueOrDefault(name);
}
