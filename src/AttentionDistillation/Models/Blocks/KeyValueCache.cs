using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// Keys and values of the tokens a decoder has read, layer by layer, in storage that is allocated ahead and doubles when it is full. A layer with a
/// sliding window keeps no more than its window asks for.
/// </summary>
/// <remarks>Keys that require a gradient (soft prompts, trained prefixes) are kept with their graph, by concatenation.</remarks>
public sealed class KeyValueCache : IDisposable
{
    private const long FirstCapacity = 64;

    private readonly Layer[] layers;
    private readonly long capacity;

    /// <summary>An empty cache.</summary>
    /// <param name="layers">Number of attention layers.</param>
    /// <param name="capacity">Tokens to allocate storage for at the first use; it grows beyond by doubling.</param>
    public KeyValueCache(int layers, long capacity = FirstCapacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(layers, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        this.layers = [.. Enumerable.Range(0, layers).Select(_ => new Layer())];
        this.capacity = capacity;
    }

    /// <summary>Number of attention layers.</summary>
    public int Layers => layers.Length;

    /// <summary>Tokens read so far.</summary>
    public long Length => layers[0].Length;

    /// <summary>Adds a pass's keys and values to a layer.</summary>
    /// <param name="layer">The layer's number from 0.</param>
    /// <param name="key">[B, H, L, D], positions applied.</param>
    /// <param name="value">[B, H, L, D].</param>
    /// <param name="window">Keys that a query of this layer sees at most; null for all.</param>
    /// <returns>What the pass's queries may see, [B, H, S, D]: all, or the last window - 1 + L; views that the next call may overwrite.</returns>
    /// <exception cref="ArgumentException">Batch, heads or widths differ from what the layer holds.</exception>
    public (Tensor Key, Tensor Value) Append(int layer, Tensor key, Tensor value, long? window)
    {
        Shapes.Require(key, "[B, H, L, D]");
        Shapes.Require(value, "[B, H, L, D]");
        var held = layers[layer];
        using var scope = NewDisposeScope();
        if (held.Keys is not null && (held.Keys.size(0) != key.size(0) || held.Keys.size(1) != key.size(1)))
            throw new ArgumentException(
                $"The cache holds {held.Keys.size(0)} sequences of {held.Keys.size(1)} heads, but got {Shapes.Describe(key)}. Use a cache for each batch."
            );
        long added = key.size(2);
        if (key.requires_grad || value.requires_grad || held.HasGraph)
            held.Join(key, value);
        else
        {
            held.MakeRoom(key, value, window, capacity);
            held.Keys!.narrow(2, held.Stored, added).copy_(key);
            held.Values!.narrow(2, held.Stored, added).copy_(value);
        }
        held.Stored += added;
        held.Length += added;
        long seen = window is { } width ? Math.Min(held.Stored, width - 1 + added) : held.Stored;
        return (
            held.Keys!.narrow(2, held.Stored - seen, seen).MoveToOuterDisposeScope(),
            held.Values!.narrow(2, held.Stored - seen, seen).MoveToOuterDisposeScope()
        );
    }

    /// <summary>How many keys a layer's queries would see, were <paramref name="added"/> tokens appended.</summary>
    public long Visible(long added, long? window) =>
        window is { } width ? Math.Min(Length + added, width - 1 + added) : Length + added;

    /// <summary>Forgets all but the first tokens, for example those of a rejected draft.</summary>
    /// <param name="length">Tokens to keep.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer tokens.</exception>
    /// <exception cref="InvalidOperationException">A layer with a sliding window no longer holds the keys before that length.</exception>
    public void Crop(long length)
    {
        if (length < 0 || length > Length)
            throw new ArgumentOutOfRangeException(nameof(length), length, $"The cache holds {Length} tokens.");
        foreach (var held in layers)
        {
            long dropped = held.Length - held.Stored;
            if (dropped > 0 && length < held.Length)
            {
                // The first kept token's window must still be there whole.
                long needed = length - (held.Window!.Value - 1);
                if (needed < dropped)
                    throw new InvalidOperationException(
                        $"A layer with a window of {held.Window} has dropped its first {dropped} keys, so the cache cannot go back from {held.Length} to {length} tokens."
                    );
            }
            held.Stored -= held.Length - length;
            held.Length = length;
        }
    }

    /// <summary>Replaces the sequences by some of them, in a new order: beams that go on, or copies of a prompt.</summary>
    /// <param name="sequences">int64 [new B], numbers of the sequences held.</param>
    public void Reorder(Tensor sequences)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        Shapes.Require(sequences, "[B]");
        foreach (var held in layers)
            held.Replace(tensor => tensor.index_select(0, sequences));
    }

    /// <summary>Repeats each sequence, neighbours alike: one prompt for several samples.</summary>
    /// <param name="times">Copies of each.</param>
    public void Repeat(long times)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(times, 1);
        foreach (var held in layers)
            held.Replace(tensor => tensor.repeat_interleave(times, 0));
    }

    /// <summary>Frees the storage.</summary>
    public void Dispose()
    {
        foreach (var held in layers)
            held.Clear();
    }

    private sealed class Layer
    {
        public Tensor? Keys { get; private set; }

        public Tensor? Values { get; private set; }

        public long Stored { get; set; }

        public long Length { get; set; }

        public long? Window { get; private set; }

        public bool HasGraph => Keys?.requires_grad == true || Values?.requires_grad == true;

        public void Join(Tensor key, Tensor value)
        {
            Replace(
                Keys is null ? key.alias() : cat([Keys.narrow(2, 0, Stored), key], 2),
                Values is null ? value.alias() : cat([Values.narrow(2, 0, Stored), value], 2)
            );
        }

        /// <summary>Makes room for a pass's tokens: moves what a window still needs to the front, or doubles the storage.</summary>
        public void MakeRoom(Tensor key, Tensor value, long? window, long capacity)
        {
            Window = window;
            long added = key.size(2),
                kept = window is { } width ? Math.Min(Stored, width - 1) : Stored;
            if (Keys is not null && Stored + added <= Keys.size(2))
                return;
            long size = Keys?.size(2) ?? Math.Min(capacity, window is { } w ? 2 * w + added : long.MaxValue);
            // A window's storage is to hold a few passes between moves.
            while (size < kept + added || (window is not null && size < 2 * kept))
                size *= 2;
            Replace(Grown(Keys, key), Grown(Values, value));
            Stored = kept;

            Tensor Grown(Tensor? old, Tensor like)
            {
                var grown = empty(like.size(0), like.size(1), size, like.size(3), dtype: like.dtype, device: like.device);
                if (old is not null && kept > 0)
                    grown.narrow(2, 0, kept).copy_(old.narrow(2, Stored - kept, kept));
                return grown;
            }
        }

        public void Replace(Func<Tensor, Tensor> change)
        {
            if (Keys is null || Values is null)
                return;
            using var scope = NewDisposeScope();
            Replace(change(Keys), change(Values));
        }

        public void Clear()
        {
            Keys?.Dispose();
            Values?.Dispose();
            (Keys, Values, Stored, Length) = (null, null, 0, 0);
        }

        private void Replace(Tensor keys, Tensor values)
        {
            Keys?.Dispose();
            Values?.Dispose();
            (Keys, Values) = (keys.DetachFromDisposeScope(), values.DetachFromDisposeScope());
        }
    }
}
