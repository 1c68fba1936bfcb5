using System.Buffers.Binary;
using System.IO.Compression;

namespace AttentionDistillation.Worlds.Images;

/// <summary>Training and test images of a folder, scaled to zero mean and unit deviation per channel over the training images.</summary>
/// <param name="Train">Training images.</param>
/// <param name="Test">Test images, scaled with the training images' numbers.</param>
/// <param name="Mean">Mean of every channel of the training images, as intensities of 0 to 1.</param>
/// <param name="Deviation">Standard deviation of every channel, likewise.</param>
public sealed record ImageFolder(ImageSet Train, ImageSet Test, IReadOnlyList<double> Mean, IReadOnlyList<double> Deviation);

/// <summary>
/// Reads the binary files in which CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST are published, as [n, 3, 32, 32]; every file may be gzipped (.gz). Folders of
/// image files are read by <see cref="ClassFolders"/>.
/// </summary>
/// <remarks>
/// Formats: CIFAR (Krizhevsky 2009, "binary version"): records of 1 label byte (CIFAR-100: coarse, then fine) and 3,072 bytes, the red, green and blue
/// plane, row by row. IDX (LeCun et al.): big-endian int32 magic 2051, count, rows, columns and a byte a pixel; labels magic 2049, count, a byte each.
/// </remarks>
public static class ImageFiles
{
    private const int Size = 32;
    private const int Area = Size * Size;
    private const int ImagesMagic = 2051;
    private const int LabelsMagic = 2049;

    private static readonly string[] Cifar10Names =
    [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ];

    /// <summary>Reads whatever of the formats a folder holds, told by the files' names.</summary>
    /// <param name="folder">Holds data_batch_1.bin ..., or train.bin and test.bin, or train-images-idx3-ubyte ..., or image files in folders of classes (<see cref="ClassFolders"/>).</param>
    /// <param name="options">Size, cut and scaling of image files in folders; the binary files are read as they are.</param>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="FileNotFoundException">None of the formats, or a file of it is missing; the message says what to download.</exception>
    /// <exception cref="InvalidDataException">A file is cut short, or says something else than its format allows; the message names it.</exception>
    public static ImageFolder Read(string folder, ClassFolderOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"There is no folder '{folder}'.");
        if (Find(folder, "data_batch_1.bin") is not null)
            return ReadCifar10(folder);
        if (Find(folder, "train.bin") is not null)
            return ReadCifar100(folder);
        if (FindIdx(folder, "train-images", 3) is not null)
            return ReadMnist(folder);
        if (ClassFolders.IsOne(folder))
            return ClassFolders.Read(folder, options);
        throw new FileNotFoundException(
            $"'{folder}' holds neither data_batch_1.bin (CIFAR-10) nor train.bin (CIFAR-100) nor train-images-idx3-ubyte (MNIST, Fashion-MNIST), plain or with .gz, nor "
                + "train/CLASS folders of image files (ImageNet, Tiny-ImageNet). Download the binary version from cs.toronto.edu/~kriz/cifar.html and unpack it, or the four "
                + "files of MNIST, or lay image files out as train/CLASS/*.JPEG and val/CLASS/*.JPEG, and name the folder that holds them."
        );
    }

    /// <summary>Reads CIFAR-10: data_batch_1.bin to data_batch_5.bin and test_batch.bin.</summary>
    /// <inheritdoc cref="Read" path="/exception"/>
    public static ImageFolder ReadCifar10(string folder)
    {
        string[] train = [.. Enumerable.Range(1, 5).Select(number => Need(folder, $"data_batch_{number}.bin", "CIFAR-10"))];
        string test = Need(folder, "test_batch.bin", "CIFAR-10");
        return Scale(
            ReadRecords(train, labelBytes: 1, classes: 10),
            ReadRecords([test], labelBytes: 1, classes: 10),
            Cifar10Names
        );
    }

    /// <summary>Reads CIFAR-100 with its fine labels: train.bin and test.bin, and the classes' names from fine_label_names.txt where it lies there.</summary>
    /// <inheritdoc cref="Read" path="/exception"/>
    public static ImageFolder ReadCifar100(string folder)
    {
        string train = Need(folder, "train.bin", "CIFAR-100"),
            test = Need(folder, "test.bin", "CIFAR-100"),
            namesPath = Path.Combine(folder, "fine_label_names.txt");
        string[] names = File.Exists(namesPath)
            ? [.. File.ReadLines(namesPath).Select(line => line.Trim()).Where(line => line.Length > 0)]
            : [.. Enumerable.Range(0, 100).Select(number => $"class {number}")];
        if (names.Length != 100)
            throw new InvalidDataException($"'{namesPath}' names {names.Length} classes, expected 100.");
        return Scale(ReadRecords([train], labelBytes: 2, classes: 100), ReadRecords([test], labelBytes: 2, classes: 100), names);
    }

    /// <summary>Reads MNIST or Fashion-MNIST: 28 x 28 images in the middle of 32 x 32, the same in all three channels.</summary>
    /// <inheritdoc cref="Read" path="/exception"/>
    public static ImageFolder ReadMnist(string folder) =>
        Scale(
            ReadIdx(NeedIdx(folder, "train-images", 3), NeedIdx(folder, "train-labels", 1)),
            ReadIdx(NeedIdx(folder, "t10k-images", 3), NeedIdx(folder, "t10k-labels", 1)),
            [.. Enumerable.Range(0, 10).Select(number => $"{number}")]
        );

    private static (byte[] Pixels, int[] Labels) ReadRecords(string[] paths, int labelBytes, int classes)
    {
        int record = labelBytes + 3 * Area;
        var all = new List<byte[]>();
        int count = 0;
        foreach (string path in paths)
        {
            byte[] bytes = ReadAll(path);
            if (bytes.Length == 0 || bytes.Length % record != 0)
                throw new InvalidDataException(
                    $"'{path}' has {bytes.Length} bytes, which is no positive multiple of {record}, the length of a record. The file is cut short or of another format."
                );
            all.Add(bytes);
            count += bytes.Length / record;
        }
        byte[] pixels = new byte[count * 3 * Area];
        int[] labels = new int[count];
        int at = 0;
        for (int file = 0; file < all.Count; file++)
        for (int start = 0; start < all[file].Length; start += record, at++)
        {
            labels[at] = all[file][start + labelBytes - 1];
            if (labels[at] >= classes)
                throw new InvalidDataException(
                    $"'{paths[file]}' has the label {labels[at]} in record {start / record}, expected 0 to {classes - 1}."
                );
            all[file].AsSpan(start + labelBytes, 3 * Area).CopyTo(pixels.AsSpan(at * 3 * Area));
        }
        return (pixels, labels);
    }

    private static (byte[] Pixels, int[] Labels) ReadIdx(string imagesPath, string labelsPath)
    {
        byte[] images = ReadAll(imagesPath),
            labels = ReadAll(labelsPath);
        int count = Header(images, imagesPath, ImagesMagic, 16),
            labelled = Header(labels, labelsPath, LabelsMagic, 8);
        int height = BinaryPrimitives.ReadInt32BigEndian(images.AsSpan(8)),
            width = BinaryPrimitives.ReadInt32BigEndian(images.AsSpan(12));
        if (height is < 1 or > Size || width is < 1 or > Size)
            throw new InvalidDataException(
                $"'{imagesPath}' holds images of {height} x {width}, expected at most {Size} x {Size}."
            );
        if (count != labelled)
            throw new InvalidDataException(
                $"'{imagesPath}' holds {count} images and '{labelsPath}' {labelled} labels. They do not belong together."
            );
        RequireLength(images, imagesPath, 16 + (long)count * height * width);
        RequireLength(labels, labelsPath, 8 + (long)count);
        byte[] pixels = new byte[count * 3 * Area];
        int top = (Size - height) / 2,
            left = (Size - width) / 2;
        for (int image = 0; image < count; image++)
        for (int channel = 0; channel < 3; channel++)
        for (int row = 0; row < height; row++)
            images
                .AsSpan(16 + (image * height + row) * width, width)
                .CopyTo(pixels.AsSpan(((image * 3 + channel) * Size + top + row) * Size + left));
        int[] numbers = new int[count];
        for (int image = 0; image < count; image++)
        {
            numbers[image] = labels[8 + image];
            if (numbers[image] > 9)
                throw new InvalidDataException($"'{labelsPath}' has the label {numbers[image]} at {image}, expected 0 to 9.");
        }
        return (pixels, numbers);
    }

    private static int Header(byte[] bytes, string path, int magic, int length)
    {
        if (bytes.Length < length)
            throw new InvalidDataException($"'{path}' has {bytes.Length} bytes, too few for a header of {length}.");
        int found = BinaryPrimitives.ReadInt32BigEndian(bytes);
        if (found != magic)
            throw new InvalidDataException($"'{path}' begins with {found}, expected {magic}. It is no IDX file of this kind.");
        int count = BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(4));
        return count > 0 ? count : throw new InvalidDataException($"'{path}' says that it holds {count} items.");
    }

    private static void RequireLength(byte[] bytes, string path, long expected)
    {
        if (bytes.Length != expected)
            throw new InvalidDataException(
                $"'{path}' has {bytes.Length} bytes, and its header speaks of {expected}. The file is damaged: download it again."
            );
    }

    private static ImageFolder Scale(
        (byte[] Pixels, int[] Labels) train,
        (byte[] Pixels, int[] Labels) test,
        IReadOnlyList<string> names
    )
    {
        double[] mean = new double[3],
            deviation = new double[3];
        for (int channel = 0; channel < 3; channel++)
        {
            long sum = 0,
                squares = 0;
            for (int image = 0; image < train.Labels.Length; image++)
                foreach (byte value in train.Pixels.AsSpan((image * 3 + channel) * Area, Area))
                {
                    sum += value;
                    squares += value * value;
                }
            double values = (double)train.Labels.Length * Area;
            mean[channel] = sum / values / 255;
            deviation[channel] = Math.Sqrt(Math.Max(0, squares / values - sum / values * (sum / values))) / 255;
        }
        return new(Scaled(train, names, mean, deviation), Scaled(test, names, mean, deviation), mean, deviation);
    }

    private static ImageSet Scaled(
        (byte[] Pixels, int[] Labels) data,
        IReadOnlyList<string> names,
        double[] mean,
        double[] deviation
    )
    {
        float[] pixels = ImageSet.Allocate(data.Labels.Length, 3 * Area);
        for (int at = 0; at < pixels.Length; at++)
        {
            int channel = at / Area % 3;
            pixels[at] = (float)((data.Pixels[at] / 255.0 - mean[channel]) / Math.Max(deviation[channel], 1e-8));
        }
        return new ImageSet(pixels, data.Labels, names, channels: 3, Size);
    }

    private static byte[] ReadAll(string path)
    {
        if (!path.EndsWith(".gz", StringComparison.Ordinal))
            return File.ReadAllBytes(path);
        try
        {
            using var unpacked = new MemoryStream();
            using var stream = new GZipStream(File.OpenRead(path), CompressionMode.Decompress);
            stream.CopyTo(unpacked);
            return unpacked.ToArray();
        }
        catch (InvalidDataException problem)
        {
            throw new InvalidDataException($"'{path}' is no complete gzip file: {problem.Message}", problem);
        }
    }

    private static string? Find(string folder, string name) =>
        new[] { name, name + ".gz" }.Select(each => Path.Combine(folder, each)).FirstOrDefault(File.Exists);

    // Some copies of the files carry a point where the original has a hyphen.
    private static string? FindIdx(string folder, string what, int axes) =>
        Find(folder, $"{what}-idx{axes}-ubyte") ?? Find(folder, $"{what}.idx{axes}-ubyte");

    private static string Need(string folder, string name, string data) =>
        Find(folder, name)
        ?? throw new FileNotFoundException(
            $"'{folder}' has no {name} (or {name}.gz). Unpack the whole binary version of {data} there, from cs.toronto.edu/~kriz/cifar.html.",
            Path.Combine(folder, name)
        );

    private static string NeedIdx(string folder, string what, int axes) =>
        FindIdx(folder, what, axes)
        ?? throw new FileNotFoundException(
            $"'{folder}' has no {what}-idx{axes}-ubyte (or .gz). MNIST has four files: images and labels of train and t10k.",
            Path.Combine(folder, $"{what}-idx{axes}-ubyte")
        );
}
