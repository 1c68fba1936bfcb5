using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>
/// A safetensors file, opened by mapping it into memory: the header is read and checked at once, a tensor's bytes only when they are asked for.
/// </summary>
/// <remarks>Source of the format: the safetensors specification (README of huggingface/safetensors, "Format").</remarks>
public sealed unsafe class SafeTensorsFile : ICheckpoint
{
    private const int NamesInMessage = 8;

    /// <summary>Large enough that a conversion or a transfer is as fast as in one go, and small beside any model.</summary>
    private const long StagingBytes = 16 << 20;

    private readonly MemoryMappedFile map;
    private readonly MemoryMappedViewAccessor view;
    private readonly byte* start;
    private bool disposed;

    private SafeTensorsFile(
        string path,
        MemoryMappedFile map,
        MemoryMappedViewAccessor view,
        byte* start,
        Dictionary<string, SafeTensorsEntry> entries,
        Dictionary<string, string> metadata
    )
    {
        (Path, this.map, this.view, Entries, Metadata) = (path, map, view, entries, metadata);
        this.start = start;
    }

    /// <inheritdoc/>
    public string Path { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, SafeTensorsEntry> Entries { get; }

    /// <summary>Opens a file and checks its header.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="SafeTensorsException">The file is no valid safetensors file, or is a pickle; the message says why.</exception>
    public static SafeTensorsFile Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no file '{path}'.", path);
        long length = new FileInfo(path).Length;
        PickleFiles.Refuse(path);
        if (length < SafeTensorsHeader.LengthBytes)
            throw SafeTensorsHeader.Bad(
                path,
                $"it has {length} bytes, fewer than the {SafeTensorsHeader.LengthBytes} of the header's length"
            );
        MemoryMappedFile? map = null;
        MemoryMappedViewAccessor? view = null;
        byte* pointer = null;
        try
        {
            map = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
            view = map.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
            view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
            byte* start = pointer + view.PointerOffset;
            ulong headerLength = BinaryPrimitives.ReadUInt64LittleEndian(
                new ReadOnlySpan<byte>(start, SafeTensorsHeader.LengthBytes)
            );
            if (headerLength > (ulong)SafeTensorsHeader.MaximumLength)
                throw SafeTensorsHeader.Bad(
                    path,
                    $"its header claims {headerLength} bytes, more than the {SafeTensorsHeader.MaximumLength} the format allows"
                );
            if ((long)headerLength > length - SafeTensorsHeader.LengthBytes)
                throw SafeTensorsHeader.Bad(
                    path,
                    $"its header claims {headerLength} bytes, but the file has {length}: it is truncated"
                );
            var json = new ReadOnlySpan<byte>(start + SafeTensorsHeader.LengthBytes, (int)headerLength);
            var (entries, metadata) = SafeTensorsHeader.Parse(json, length, path);
            return new SafeTensorsFile(path, map, view, start, entries, metadata);
        }
        catch
        {
            if (pointer is not null)
                view!.SafeMemoryMappedViewHandle.ReleasePointer();
            view?.Dispose();
            map?.Dispose();
            throw;
        }
    }

    /// <summary>A tensor's bytes as they lie in the file, little-endian, without a copy; valid until the file is disposed.</summary>
    /// <exception cref="KeyNotFoundException">No such tensor.</exception>
    /// <exception cref="NotSupportedException">The tensor is longer than a span (2^31 - 1 bytes); use the overload with a range.</exception>
    public ReadOnlySpan<byte> Bytes(string name)
    {
        var entry = Find(name);
        return entry.Length <= int.MaxValue
            ? Bytes(name, 0, (int)entry.Length)
            : throw new NotSupportedException(
                $"'{name}' has {entry.Length} bytes, more than one span can show. Ask for parts with Bytes(name, offset, length)."
            );
    }

    /// <summary>A part of a tensor's bytes, without a copy; valid until the file is disposed.</summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="offset">First byte, counted from the tensor's start.</param>
    /// <param name="length">Number of bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the tensor.</exception>
    public ReadOnlySpan<byte> Bytes(string name, long offset, int length)
    {
        var entry = Find(name);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, entry.Length - offset);
        return new ReadOnlySpan<byte>(start + entry.Offset + offset, length);
    }

    /// <inheritdoc/>
    public Tensor Read(string name, Device? device = null, ScalarType? dtype = null)
    {
        var entry = Find(name);
        var type = TorchType(entry);
        using var scope = NewDisposeScope();
        var tensor = empty(entry.Shape.ToArray(), dtype: type, device: CPU);
        if (entry.Length > 0)
            Buffer.MemoryCopy(start + entry.Offset, TensorBytes.Pointer(tensor), entry.Length, entry.Length);
        return tensor.to(dtype ?? type, device ?? CPU).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void CopyTo(string name, Tensor destination)
    {
        ArgumentNullException.ThrowIfNull(destination);
        var entry = Find(name);
        var type = TorchType(entry);
        if (!entry.Shape.SequenceEqual(destination.shape))
            throw new ArgumentException(
                $"The tensor '{name}' of '{Path}' is {entry.Description}, the destination is [{string.Join(", ", destination.shape)}].",
                nameof(destination)
            );
        if (entry.Length == 0)
            return;
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        if (destination.device_type == DeviceType.CPU && destination.dtype == type && destination.is_contiguous())
        {
            Buffer.MemoryCopy(start + entry.Offset, TensorBytes.Pointer(destination.detach()), entry.Length, entry.Length);
            return;
        }
        var target = entry.Shape.Count == 0 ? destination.unsqueeze(0) : destination;
        long rows = target.shape[0],
            rowBytes = entry.Length / rows,
            most = Math.Clamp(StagingBytes / rowBytes, 1, rows);
        var staging = empty([most, .. target.shape[1..]], dtype: type, device: CPU);
        byte* buffer = TensorBytes.Pointer(staging);
        for (long row = 0; row < rows; row += most)
        {
            long count = Math.Min(most, rows - row);
            Buffer.MemoryCopy(start + entry.Offset + row * rowBytes, buffer, count * rowBytes, count * rowBytes);
            using var from = staging.narrow(0, 0, count);
            using var to = target.narrow(0, row, count);
            to.copy_(from);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (disposed)
            return;
        disposed = true;
        view.SafeMemoryMappedViewHandle.ReleasePointer();
        view.Dispose();
        map.Dispose();
    }

    private ScalarType TorchType(SafeTensorsEntry entry) =>
        entry.Type.Torch
        ?? throw new NotSupportedException(
            $"The tensor '{entry.Name}' of '{Path}' has the element type {entry.Type.Name}, which TorchSharp cannot hold. Read its bytes with Bytes(\"{entry.Name}\")."
        );

    private SafeTensorsEntry Find(string name)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        ArgumentNullException.ThrowIfNull(name);
        return Entries.TryGetValue(name, out var entry) ? entry : throw NoSuchTensor(Path, name, Entries.Keys);
    }

    /// <summary>The error for an unknown name, which shows the names most like it.</summary>
    internal static KeyNotFoundException NoSuchTensor(string path, string name, IEnumerable<string> names)
    {
        string[] all = [.. names];
        string last = name[(name.LastIndexOf('.') + 1)..];
        string[] similar = [.. all.Where(other => other.EndsWith(last, StringComparison.OrdinalIgnoreCase)).Take(NamesInMessage)];
        if (similar.Length == 0)
            similar = [.. all.Order(StringComparer.Ordinal).Take(NamesInMessage)];
        return new KeyNotFoundException(
            $"'{path}' has no tensor '{name}'. Of its {all.Length} tensors these come nearest: {string.Join(", ", similar)}."
        );
    }
}
