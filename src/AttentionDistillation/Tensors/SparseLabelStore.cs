using System.Buffers.Binary;
using System.Globalization;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>
/// A teacher's sparse soft labels on the disk, a record per image AND epoch with the seed of the augmentation that the teacher saw: the teacher runs
/// once, and any number of students train on its labels without it.
/// </summary>
/// <remarks>
/// A folder with a file per epoch, each written whole or not at all, so that an interrupted labelling goes on with the first missing epoch. Records have
/// one size and are read in any order, by any number of threads. Every record carries two checksums: its own, which finds damage, and the augmented
/// image's, by which a replay notices that it does not see what the teacher saw.
/// <code>
/// using var store = new SparseLabelStore(folder, new() { Classes = 48, Kept = 10, Images = 3000, Epochs = 8, Pipeline = replay.Pipeline });
/// foreach (int epoch in store.MissingEpochs)
///     TinyVit.Label(teacher, store, epoch, replay.Epoch(epoch, batchSize: 100).All());
/// var batches = replay.Training(store, seed: 1, batchSize: 64);
/// </code>
/// </remarks>
public sealed class SparseLabelStore : IDisposable
{
    private const string Prefix = "epoch-";
    private const string Suffix = ".labels";

    private readonly Dictionary<int, SparseLabelFile> open = [];
    private readonly Lock guard = new();

    /// <summary>Opens a store, or begins one. The folder is made with the first epoch.</summary>
    /// <param name="folder">Where its files lie.</param>
    /// <param name="description">What it holds; must agree with what is there.</param>
    /// <exception cref="ArgumentException">The description is invalid.</exception>
    /// <exception cref="InvalidDataException">The folder holds labels of another description, or a damaged file; the message says what differs.</exception>
    public SparseLabelStore(string folder, SparseLabelDescription description)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentNullException.ThrowIfNull(description);
        description.Validate();
        (Folder, Description) = (System.IO.Path.GetFullPath(folder), description);
        if (!Directory.Exists(Folder))
            return;
        try
        {
            foreach (string path in Directory.GetFiles(Folder, $"{Prefix}*{Suffix}").Order(StringComparer.Ordinal))
                Opened(path);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Opens a store by what its files say they hold.</summary>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="FileNotFoundException">The folder holds no labels.</exception>
    /// <exception cref="InvalidDataException">A file is damaged, or the files do not belong together.</exception>
    public static SparseLabelStore Open(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"There is no folder '{folder}'.");
        string first =
            Directory.GetFiles(folder, $"{Prefix}*{Suffix}").Order(StringComparer.Ordinal).FirstOrDefault()
            ?? throw new FileNotFoundException(
                $"'{folder}' holds no sparse labels ({Prefix}00000{Suffix} and so on). Run the teacher first."
            );
        using var file = SparseLabelFile.Open(first);
        return new(folder, file.Description);
    }

    /// <summary>Where the files lie.</summary>
    public string Folder { get; }

    /// <summary>What the store holds.</summary>
    public SparseLabelDescription Description { get; }

    /// <summary>The epochs that are there, in order.</summary>
    public IReadOnlyList<int> Epochs
    {
        get
        {
            lock (guard)
                return [.. open.Keys.Order()];
        }
    }

    /// <summary>The epochs that are described but not there, in order: what the teacher still has to label.</summary>
    public IReadOnlyList<int> MissingEpochs => [.. Enumerable.Range(0, Description.Epochs).Except(Epochs)];

    /// <summary>Bytes of all files.</summary>
    public long BytesOnDisk => Epochs.Sum(epoch => new FileInfo(PathOf(epoch)).Length);

    /// <summary>Writes an epoch, whole or not at all: if the labels end early or fail, nothing changes. An epoch that is there is replaced.</summary>
    /// <param name="epoch">Its number, from 0.</param>
    /// <param name="labels">Labels of all images in the order of their numbers, in parts of any size; each part is freed.</param>
    /// <exception cref="ArgumentOutOfRangeException">The description has no such epoch.</exception>
    /// <exception cref="ArgumentException">There are more or fewer labels than images, another K, or a label does not fit a record; the message says which.</exception>
    /// <exception cref="IOException">The disk refuses.</exception>
    public void WriteEpoch(int epoch, IEnumerable<SparseLabels> labels)
    {
        ArgumentNullException.ThrowIfNull(labels);
        Require(epoch);
        try
        {
            AtomicFile.Write(
                PathOf(epoch),
                stream =>
                {
                    stream.Write(SparseLabelFile.Header(Description, epoch));
                    int images = 0;
                    foreach (var part in labels)
                        using (part)
                        {
                            Interruption.ThrowIfRequested();
                            images = WritePart(stream, part, epoch, images);
                        }
                    if (images != Description.Images)
                        throw new ArgumentException(
                            $"There are labels of {images} images, but the store holds {Description.Images}. Give those of all images, in the order of their numbers.",
                            nameof(labels)
                        );
                    Close(epoch); // not every system replaces a file that is open
                },
                soleWriter: true
            );
        }
        finally
        {
            lock (guard)
                if (!open.ContainsKey(epoch) && File.Exists(PathOf(epoch)))
                    Opened(PathOf(epoch));
        }
    }

    /// <summary>Reads records in any order.</summary>
    /// <param name="keys">Which: image and epoch of each.</param>
    /// <returns>Values float32 [B, K], indices int64 [B, K], seeds and checksums int64 [B], on the CPU.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The description has no such image or epoch.</exception>
    /// <exception cref="KeyNotFoundException">The epoch was not written; the message says which are there.</exception>
    /// <exception cref="InvalidDataException">A record is damaged; the message says which.</exception>
    public SparseLabels Read(IReadOnlyList<SparseLabelKey> keys)
    {
        ArgumentNullException.ThrowIfNull(keys);
        int stride = Description.BytesPerRecord;
        byte[] bytes = new byte[keys.Count * stride];
        long[] checksums = new long[keys.Count];
        for (int row = 0; row < keys.Count; row++)
        {
            var (image, epoch) = keys[row];
            ArgumentOutOfRangeException.ThrowIfNegative(image);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(image, Description.Images);
            var file = FileOf(epoch);
            var record = bytes.AsSpan(row * stride, stride);
            if (!file.Read(image, record))
                throw new InvalidDataException(
                    $"The record of image {image} in epoch {epoch} is damaged: its checksum does not match. Remove '{file.Path}', and run the teacher over this epoch again."
                );
            checksums[row] = BinaryPrimitives.ReadUInt32LittleEndian(record[^8..]);
        }
        var (values, indices, seeds) = SparseLabelRecord.Unpack(bytes, Description.BytesPerImage, stride, Description.Kept);
        return new(values, indices, seeds, tensor(checksums));
    }

    /// <summary>Reads an epoch whole and checks every record.</summary>
    /// <param name="epoch">Its number, from 0.</param>
    /// <returns>The numbers of the images whose records are damaged; empty when all are whole.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The description has no such epoch.</exception>
    /// <exception cref="KeyNotFoundException">The epoch was not written.</exception>
    public IReadOnlyList<int> DamagedImages(int epoch)
    {
        var file = FileOf(epoch);
        byte[] record = new byte[Description.BytesPerRecord];
        return [.. Enumerable.Range(0, Description.Images).Where(image => !file.Read(image, record))];
    }

    /// <summary>A copy that keeps fewer classes of each image; as labels are sorted, no teacher is needed.</summary>
    /// <param name="folder">Where the copy goes.</param>
    /// <param name="kept">Its K, at most this store's.</param>
    /// <exception cref="ArgumentOutOfRangeException">This store keeps fewer classes.</exception>
    /// <exception cref="ArgumentException">The folder is this store's own.</exception>
    /// <exception cref="InvalidDataException">A record is damaged, or the folder holds other labels.</exception>
    public SparseLabelStore Narrow(string folder, int kept)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(kept, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(kept, Description.Kept);
        if (System.IO.Path.GetFullPath(folder) == Folder)
            throw new ArgumentException("The copy would replace the store itself. Name another folder.", nameof(folder));
        var copy = new SparseLabelStore(folder, Description with { Kept = kept });
        foreach (int epoch in Epochs.Except(copy.Epochs))
            copy.WriteEpoch(epoch, Parts(epoch, kept));
        return copy;
    }

    /// <summary>Closes the files.</summary>
    public void Dispose()
    {
        lock (guard)
        {
            foreach (var file in open.Values)
                file.Dispose();
            open.Clear();
        }
    }

    private const int ImagesOfPart = 4096;

    private string PathOf(int epoch) =>
        System.IO.Path.Combine(Folder, string.Create(CultureInfo.InvariantCulture, $"{Prefix}{epoch:D5}{Suffix}"));

    private void Opened(string path)
    {
        var file = SparseLabelFile.Open(path);
        string problem = file.Description.Differences(Description);
        if (problem.Length == 0 && path != PathOf(file.Epoch))
            problem = $"it holds epoch {file.Epoch}, which its name does not say";
        if (problem.Length > 0)
        {
            file.Dispose();
            throw new InvalidDataException(
                $"'{path}' belongs to other labels: {problem}. Name another folder, or remove this one and run the teacher again."
            );
        }
        open[file.Epoch] = file;
    }

    private void Close(int epoch)
    {
        lock (guard)
            if (open.Remove(epoch, out var file))
                file.Dispose();
    }

    private SparseLabelFile FileOf(int epoch)
    {
        Require(epoch);
        lock (guard)
            if (open.TryGetValue(epoch, out var file))
                return file;
        var there = Epochs;
        string held = there.Count == 0 ? "none" : string.Join(", ", there);
        throw new KeyNotFoundException(
            $"'{Folder}' has no labels of epoch {epoch} (it has: {held}). Run the teacher over this epoch first, or train for fewer epochs."
        );
    }

    private void Require(int epoch)
    {
        if (epoch < 0 || epoch >= Description.Epochs)
            throw new ArgumentOutOfRangeException(
                nameof(epoch),
                epoch,
                $"The store holds labels of {Description.Epochs} epochs, numbered from 0. Train for at most so many, or label more."
            );
    }

    private int WritePart(Stream stream, SparseLabels part, int epoch, int first)
    {
        Shapes.RequireExact(part.Values, [-1, Description.Kept]);
        Shapes.RequireExact(part.ImageChecksums, [part.Values.size(0)]);
        using var scope = NewDisposeScope();
        var packed = SparseLabelRecord.Pack(part.Values, part.Indices, part.Seeds);
        int rows = (int)packed.size(0),
            length = Description.BytesPerImage;
        if (first + rows > Description.Images)
            throw new ArgumentException($"There are labels of more than the store's {Description.Images} images.");
        if (rows == 0)
            return first;
        RequireSortedClasses(part);
        long largest = part.Indices.max().to(ScalarType.Int64).item<long>();
        if (largest >= Description.Classes)
            throw new ArgumentException(
                $"A label names class {largest}, but the store's classes are 0 to {Description.Classes - 1}."
            );
        long[] checksums = [.. part.ImageChecksums.to(ScalarType.Int64).cpu().contiguous().data<long>()];
        var bytes = packed.bytes;
        byte[] record = new byte[Description.BytesPerRecord];
        for (int row = 0; row < rows; row++)
        {
            bytes.Slice(row * length, length).CopyTo(record);
            SparseLabelFile.Seal(record, new(first + row, epoch), checked((uint)checksums[row]));
            stream.Write(record);
        }
        return first + rows;
    }

    // Narrow takes the first classes for the most probable ones, and a class that came twice would be rebuilt with one of its two values.
    private static void RequireSortedClasses(SparseLabels part)
    {
        long kept = part.Values.size(1);
        if (kept == 1)
            return;
        if ((part.Values.narrow(1, 1, kept - 1) > part.Values.narrow(1, 0, kept - 1)).any().item<bool>())
            throw new ArgumentException(
                "The probabilities of a label rise. Give each image's classes from the most probable one down, as topk does."
            );
        var (sorted, _) = part.Indices.sort(1);
        if (sorted.narrow(1, 1, kept - 1).eq(sorted.narrow(1, 0, kept - 1)).any().item<bool>())
            throw new ArgumentException("A label names a class twice. Give each image's classes once each.");
    }

    private IEnumerable<SparseLabels> Parts(int epoch, int kept)
    {
        for (int first = 0; first < Description.Images; first += ImagesOfPart)
        {
            int count = Math.Min(ImagesOfPart, Description.Images - first);
            using var all = Read([.. Enumerable.Range(first, count).Select(image => new SparseLabelKey(image, epoch))]);
            yield return new(
                all.Values.narrow(1, 0, kept).clone(),
                all.Indices.narrow(1, 0, kept).clone(),
                all.Seeds.clone(),
                all.ImageChecksums.clone()
            );
        }
    }
}
