using System.Globalization;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Worlds.Images;

/// <summary>
/// Image files in a folder for each class, as ImageNet, Tiny-ImageNet and torchvision's <c>ImageFolder</c> have them. Nothing is decoded until an image is
/// asked for, and decoded images are not kept: a set may be larger than the memory.
/// </summary>
/// <remarks>
/// Layouts: <c>train/CLASS/*</c> beside <c>val/CLASS/*</c> (or <c>test</c>, <c>valid</c>, <c>validation</c>), files at any depth below their class; Tiny-ImageNet as
/// published, <c>train/CLASS/images/*</c> beside <c>val/images/*</c> with <c>val/val_annotations.txt</c>. Classes are numbered by <c>wnids.txt</c> where it
/// lies there, else in the order of their folders' names by code point, as Python sorts them. <c>words.txt</c> or <c>LOC_synset_mapping.txt</c> give readable names.
/// </remarks>
public static class ClassFolders
{
    private const int DefaultSize = 224;
    private const int TinySize = 64;
    private const string Annotations = "val_annotations.txt";
    private const string Listed = "wnids.txt"; // Tiny-ImageNet's list of classes
    private static readonly string[] TestNames = ["val", "test", "valid", "validation"];
    private static readonly string[] Extensions = [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"];

    /// <summary>True where a folder has the layout: a folder <c>train</c> with folders in it.</summary>
    public static bool IsOne(string folder)
    {
        string train = Path.Combine(folder, "train");
        return Directory.Exists(train) && Directory.EnumerateDirectories(train).Any();
    }

    /// <summary>Lists the images of a folder.</summary>
    /// <param name="folder">Holds <c>train</c>, and <c>val</c> or another of the names above.</param>
    /// <param name="options">Size, cut and scaling; null for ImageNet's evaluation.</param>
    /// <exception cref="DirectoryNotFoundException">There is no such folder, no <c>train</c>, or no test images' folder.</exception>
    /// <exception cref="InvalidDataException">A class has no images, test images have a class without training images, or their classes are not told.</exception>
    /// <exception cref="ArgumentException">A number of the options is out of its range.</exception>
    public static ImageFolder Read(string folder, ClassFolderOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        options ??= new();
        options.Validate();
        string train = Path.Combine(folder, "train");
        if (!IsOne(folder))
            throw new DirectoryNotFoundException(
                $"'{train}' is no folder with a folder for each class. Lay the images out as train/CLASS/*.JPEG and val/CLASS/*.JPEG."
            );
        string test =
            TestNames.Select(name => Path.Combine(folder, name)).FirstOrDefault(Directory.Exists)
            ?? throw new DirectoryNotFoundException(
                $"'{folder}' has no folder of test images beside train. It may be called {string.Join(", ", TestNames)}."
            );
        string[] classes = ClassesOf(folder, train);
        bool isAnnotated = File.Exists(Path.Combine(test, Annotations));
        int size = options.Size ?? (isAnnotated || File.Exists(Path.Combine(folder, Listed)) ? TinySize : DefaultSize);
        var decoder = new ImageDecoder(size, options);
        string[] names = Readable(folder, classes);
        var trainFiles = FilesByClass(train, classes, options.ImagesPerClass, mustHaveAll: true);
        var testFiles = isAnnotated
            ? Annotated(test, classes, options.ImagesPerClass)
            : FilesByClass(test, classes, options.ImagesPerClass, mustHaveAll: false);
        return new(Set(trainFiles), Set(testFiles), options.Mean, options.Deviation);

        ImageSet Set(List<(string Path, int Label)> files) =>
            new(
                row => decoder.Read(files[row].Path),
                row => Describe(files[row].Path, size, options),
                [.. files.Select(file => file.Label)],
                names,
                channels: 3,
                size
            );
    }

    // What decides an image's pixels, as far as it is known without reading it.
    private static string Describe(string path, int size, ClassFolderOptions options) =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{Path.GetFileName(path)} {new FileInfo(path).Length} {size} {options.ResizeRatio:R} {string.Join(' ', options.Mean)} {string.Join(' ', options.Deviation)}"
        );

    private static string[] ClassesOf(string folder, string train)
    {
        string[] found = [.. Directory.EnumerateDirectories(train).Select(path => Path.GetFileName(path)!)];
        Array.Sort(found, StringComparer.Ordinal);
        string listed = Path.Combine(folder, Listed);
        if (!File.Exists(listed))
            return found;
        string[] classes = [.. File.ReadLines(listed).Select(line => line.Trim()).Where(line => line.Length > 0)];
        if (!classes.Order(StringComparer.Ordinal).SequenceEqual(found))
            throw new InvalidDataException(
                $"'{listed}' lists {classes.Length} classes, which are not the {found.Length} folders of '{train}'. Unpack the archive again."
            );
        return classes;
    }

    private static List<(string, int)> FilesByClass(string folder, string[] classes, int? most, bool mustHaveAll)
    {
        var numbers = classes.Index().ToDictionary(pair => pair.Item, pair => pair.Index, StringComparer.Ordinal);
        string[] there = [.. Directory.EnumerateDirectories(folder).Select(path => Path.GetFileName(path)!)];
        if (there.Length == 0)
            throw new InvalidDataException(
                $"'{folder}' holds no folders of classes. ImageNet's validation archive does not sort its images: move each into the folder of its class."
            );
        if (there.FirstOrDefault(name => !numbers.ContainsKey(name)) is { } unknown)
            throw new InvalidDataException(
                $"'{Path.Combine(folder, unknown)}' is a class without training images. Add train/{unknown}, or take it out."
            );
        var files = new List<(string, int)>();
        foreach (string name in classes)
        {
            string place = Path.Combine(folder, name);
            string[] images = Directory.Exists(place) ? ImagesBelow(place) : [];
            if (images.Length == 0 && (mustHaveAll || Directory.Exists(place)))
                throw new InvalidDataException(
                    $"'{place}' holds no images ({string.Join(", ", Extensions)}). Add some, or take the class out."
                );
            files.AddRange(images.Take(most ?? int.MaxValue).Select(path => (path, numbers[name])));
        }
        return files;
    }

    private static string[] ImagesBelow(string folder)
    {
        string[] images =
        [
            .. Directory
                .EnumerateFiles(folder, "*", SearchOption.AllDirectories)
                .Where(path => !Path.GetFileName(path).StartsWith('.')) // what macOS leaves beside files it copies
                .Where(path => Extensions.Contains(Path.GetExtension(path), StringComparer.OrdinalIgnoreCase)),
        ];
        Array.Sort(images, StringComparer.Ordinal);
        return images;
    }

    // Tiny-ImageNet: file, class and a box a line, separated by tabs.
    private static List<(string, int)> Annotated(string folder, string[] classes, int? most)
    {
        string table = Path.Combine(folder, Annotations);
        var taken = new int[classes.Length];
        var files = new List<(string, int)>();
        foreach (var (number, line) in File.ReadLines(table).Index())
        {
            if (string.IsNullOrWhiteSpace(line))
                continue;
            string[] fields = line.Split('\t');
            int label = fields.Length < 2 ? -1 : Array.IndexOf(classes, fields[1].Trim());
            if (label < 0)
                throw new InvalidDataException(
                    $"'{table}', line {number + 1}: '{line}' does not name a file and one of the {classes.Length} classes of the training images."
                );
            if (++taken[label] <= (most ?? int.MaxValue))
                files.Add((Path.Combine(folder, "images", fields[0]), label));
        }
        return files.Count > 0 ? files : throw new InvalidDataException($"'{table}' names no images. Unpack the archive again.");
    }

    private static string[] Readable(string folder, string[] classes)
    {
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (file, separator) in new[] { ("words.txt", '\t'), ("LOC_synset_mapping.txt", ' ') })
        {
            string path = Path.Combine(folder, file);
            if (File.Exists(path))
                foreach (string line in File.ReadLines(path))
                    if (line.IndexOf(separator) is var at and > 0)
                        names.TryAdd(line[..at], line[(at + 1)..].Split(',')[0].Trim());
        }
        string[] readable = [.. classes.Select(name => names.GetValueOrDefault(name, name))];
        // Several synsets share a word (crane, the bird and the machine): then all of these keep their own names beside it.
        var shared = readable.GroupBy(name => name).Where(group => group.Count() > 1).Select(group => group.Key).ToHashSet();
        return [.. readable.Select((name, at) => shared.Contains(name) ? $"{name} ({classes[at]})" : name)];
    }
}
