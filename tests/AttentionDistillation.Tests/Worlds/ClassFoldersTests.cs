using AttentionDistillation.Worlds.Images;
using SkiaSharp;
using TorchSharp;

namespace AttentionDistillation.Tests.Worlds;

/// <summary>Image files in folders of classes: layouts, decoding, what is refused.</summary>
public sealed class ClassFoldersTests : IDisposable
{
    private static readonly ClassFolderOptions Intensities = new() { Mean = [0, 0, 0], Deviation = [1, 1, 1] };

    private const string Cmyk =
        "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwABAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
        + "EBAQEB/8AAFAgAEAAQBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQEC"
        + "AwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dX"
        + "Z3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4E"
        + "QwBNAFkASwAAPwD+riu4r+bev7CKKKKKKKKKKKKK/9k=";

    private readonly string folder = Directory.CreateTempSubdirectory("classes").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    // By Pillow 9.4: resize(BILINEAR) of the shorter side to round(S 256 / 224), or to S where it is S already, then the middle.
    [Theory]
    [InlineData(
        53,
        37,
        8,
        24493,
        new[] { 136, 118, 130, 133, 117, 133, 114, 123, 136, 124, 135, 145, 127, 128, 113, 123, 122, 114 }
    )]
    [InlineData(
        20,
        31,
        16,
        97746,
        new[] { 96, 127, 158, 146, 177, 202, 194, 143, 148, 128, 58, 73, 81, 112, 143, 159, 176, 207 }
    )]
    [InlineData(9, 14, 16, 96896, new[] { 24, 55, 86, 32, 63, 94, 42, 73, 104, 53, 84, 115, 66, 97, 128, 81, 112, 143 })]
    [InlineData(64, 64, 64, 1570560, new[] { 0, 31, 62, 3, 34, 65, 12, 43, 74, 27, 58, 89, 48, 79, 110, 75, 106, 137 })]
    public void ImagesAreResizedAndCutAsPillowDoes(int width, int height, int size, int sum, int[] beginning)
    {
        Png("train/a/1.png", width, height);
        Png("val/a/1.png", width, height);
        var set = ImageFiles.Read(folder, Intensities with { Size = size }).Train;
        using var image = set.Image(0);
        Assert.Equal([3, size, size], image.shape);
        float[] values = image.permute(1, 2, 0).contiguous().data<float>().ToArray();
        int[] levels = [.. values.Select(value => (int)Math.Round(value * 255))];
        Assert.Equal(beginning, levels[..beginning.Length]);
        Assert.Equal(sum, levels.Sum());
    }

    [Fact]
    public void ChannelsAreScaledAndClassesNumberedByName()
    {
        foreach (
            string path in (string[])
                ["train/b/2.png", "train/b/deep/1.png", "train/B/1.png", "test/b/x.png", "train/a/note.txt", "train/a/1.PNG"]
        )
            Png(path, 8, 8);
        var (train, test, mean, deviation) = ImageFiles.Read(folder, new() { Size = 8 });
        Assert.Equal(["B", "a", "b"], train.ClassNames);
        Assert.Equal([0, 1, 2, 2], train.Labels);
        Assert.Equal([2], test.Labels);
        Assert.Equal([0.485, 0.456, 0.406], mean);
        using var image = test.Image(0);
        for (int channel = 0; channel < 3; channel++)
            Assert.Equal((Level(5, 6, channel) / 255.0 - mean[channel]) / deviation[channel], image[channel, 6, 5].ToSingle(), 5);
    }

    [Fact]
    public void TinyImageNetIsReadAsPublished()
    {
        File.WriteAllLines(Path.Combine(folder, "wnids.txt"), ["n02", "n01"]);
        File.WriteAllLines(Path.Combine(folder, "words.txt"), ["n01\tgoldfish, Carassius auratus", "n02\tcrane", "n03\tdesk"]);
        Png("train/n01/images/n01_0.JPEG", 64, 64);
        Png("train/n02/images/n02_0.JPEG", 64, 64);
        Png("train/n02/images/n02_1.JPEG", 64, 64);
        Png("val/images/val_0.JPEG", 64, 64);
        Png("val/images/val_1.JPEG", 64, 64);
        File.WriteAllText(
            Path.Combine(folder, "val", "val_annotations.txt"),
            "val_0.JPEG\tn01\t0\t0\t9\t9\nval_1.JPEG\tn02\t0\t0\t9\t9\n"
        );
        var data = ImageFiles.Read(folder);
        Assert.Equal(["crane", "goldfish"], data.Train.ClassNames);
        Assert.Equal(64, data.Train.Size);
        Assert.Equal([0, 0, 1], data.Train.Labels);
        Assert.Equal([1, 0], data.Test.Labels);
        Assert.Equal([0, 1], ImageFiles.Read(folder, new() { ImagesPerClass = 1 }).Train.Labels);
        File.AppendAllText(Path.Combine(folder, "val", "val_annotations.txt"), "val_2.JPEG\tn09\t0\n");
        Assert.Contains("line 3", Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message);
        File.WriteAllLines(Path.Combine(folder, "wnids.txt"), ["n02"]);
        Assert.Contains("wnids.txt", Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message);
    }

    [Fact]
    public void ClassesThatShareAWordKeepTheirOwnNames()
    {
        File.WriteAllLines(
            Path.Combine(folder, "LOC_synset_mapping.txt"),
            ["n01 crane", "n02 crane, machine", "n03 tench, Tinca tinca"]
        );
        foreach (string name in (string[])["n01", "n02", "n03"])
            Png($"train/{name}/1.png", 8, 8);
        Png("val/n01/1.png", 8, 8);
        Assert.Equal(["crane (n01)", "crane (n02)", "tench"], ImageFiles.Read(folder).Train.ClassNames);
    }

    [Fact]
    public void GreyAndTransparentImagesHaveThreeChannels()
    {
        Save("train/a/grey.png", 8, 8, SKColorType.Gray8, SKEncodedImageFormat.Png, (_, _) => new SKColor(70, 70, 70));
        Save(
            "train/a/clear.png",
            8,
            8,
            SKColorType.Rgba8888,
            SKEncodedImageFormat.Png,
            (x, _) => new SKColor(10, 20, 30, (byte)(x * 9))
        );
        Save("val/a/1.jpg", 8, 8, SKColorType.Rgba8888, SKEncodedImageFormat.Jpeg, (_, _) => new SKColor(200, 100, 50));
        var data = ImageFiles.Read(folder, Intensities with { Size = 8 });
        using var clear = data.Train.Image(0);
        using var grey = data.Train.Image(1);
        using var photo = data.Test.Image(0);
        for (int channel = 0; channel < 3; channel++)
        {
            Assert.Equal(70 / 255f, grey[channel, 3, 3].ToSingle(), 5);
            Assert.Equal((channel + 1) * 10 / 255f, clear[channel, 3, 7].ToSingle(), 5); // not blended with any background
            Assert.Equal(((int[])[200, 100, 50])[channel] / 255f, photo[channel, 4, 4].ToSingle(), 2);
        }
    }

    // Pillow 9.4 reads it as (190, 119, 49) everywhere.
    [Fact]
    public void AnImageInPrintersColoursIsReadInRed_GreenAndBlue()
    {
        Png("val/a/1.png", 16, 16);
        Directory.CreateDirectory(Path.Combine(folder, "train", "a"));
        File.WriteAllBytes(Path.Combine(folder, "train", "a", "1.jpg"), Convert.FromBase64String(Cmyk));
        using var image = ImageFiles.Read(folder, Intensities with { Size = 16 }).Train.Image(0);
        for (int channel = 0; channel < 3; channel++)
            Assert.Equal(((int[])[190, 119, 49])[channel] / 255f, image[channel, 8, 8].ToSingle(), 0.02f);
    }

    [Fact]
    public void FilesThatMacOsLeavesAreNoImages()
    {
        Png("train/a/1.png", 8, 8);
        Png("val/a/1.png", 8, 8);
        File.WriteAllText(Path.Combine(folder, "train", "a", "._1.png"), "Mac OS X");
        Assert.Equal(1, ImageFiles.Read(folder).Train.Count);
    }

    [Fact]
    public void ImagesAreDecodedWhenAskedForByAnyNumberOfThreads()
    {
        for (int number = 0; number < 12; number++)
            Png($"train/{number % 3}/{number}.png", 20 + number, 24);
        Png("val/0/1.png", 24, 24);
        var train = ImageFiles.Read(folder, new() { Size = 16 }).Train;
        var augmentation = ImageAugmentation.TwoView;
        float[] Pixels(int? workers)
        {
            ImageBatches.Workers = workers;
            using var batch = train.Training(3, 8, augmentation, views: 2).BatchAt(2);
            return [.. batch["pixel_values"].data<float>(), .. batch[ImageSet.SecondView].data<float>()];
        }
        try
        {
            float[] one = Pixels(1);
            Assert.Equal(one, Pixels(4));
            Assert.Equal(one, Pixels(null));
        }
        finally
        {
            ImageBatches.Workers = null;
        }
        using var batch = train.Evaluation(5).BatchAt(2);
        using var image = train.Image(11);
        Assert.Equal(image.data<float>().ToArray(), batch["pixel_values"][1].data<float>().ToArray());

        string lost = Path.Combine(folder, "train", "0", "3.png");
        File.Delete(lost);
        var error = Assert.Throws<FileNotFoundException>(() => train.Evaluation(12).BatchAt(0));
        Assert.Contains(lost, error.Message);
    }

    [Fact]
    public void AReplayKnowsItsFilesWithoutDecodingThem()
    {
        Png("train/a/1.png", 9, 9);
        Png("val/a/1.png", 9, 9);
        File.WriteAllText(Path.Combine(folder, "train", "a", "2.png"), "no image");
        var options = new ClassFolderOptions { Size = 8 };
        string Of() => new ImageReplay(ImageFiles.Read(folder, options).Train, ImageAugmentation.Standard, 1).Pipeline;
        string first = Of();
        Assert.Equal(first, Of());
        File.WriteAllText(Path.Combine(folder, "train", "a", "2.png"), "no image either");
        Assert.NotEqual(first, Of());
    }

    [Theory]
    [InlineData("no image at all", "is no image")]
    [InlineData("", "is no image")]
    public void AFileThatIsNoImageIsNamed(string content, string message)
    {
        Png("train/a/1.png", 8, 8);
        Png("val/a/1.png", 8, 8);
        string broken = Path.Combine(folder, "train", "a", "2.jpg");
        File.WriteAllText(broken, content);
        var train = ImageFiles.Read(folder).Train;
        var error = Assert.Throws<InvalidDataException>(() => train.Image(1));
        Assert.Contains(broken, error.Message);
        Assert.Contains(message, error.Message);
    }

    [Fact]
    public void AFileThatIsCutShortIsNamed()
    {
        Png("train/a/1.png", 200, 200);
        Png("val/a/1.png", 8, 8);
        string path = Path.Combine(folder, "train", "a", "1.png");
        byte[] bytes = File.ReadAllBytes(path);
        File.WriteAllBytes(path, bytes[..(bytes.Length / 2)]);
        var error = Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder).Train.Image(0));
        Assert.Contains("damaged or cut short", error.Message);
        Assert.Contains(path, error.Message);
    }

    [Fact]
    public void FoldersThatDoNotFitAreRefused()
    {
        Assert.Contains("train/CLASS", Assert.Throws<FileNotFoundException>(() => ImageFiles.Read(folder)).Message);
        Png("train/a/1.png", 8, 8);
        Assert.Contains("test images", Assert.Throws<DirectoryNotFoundException>(() => ImageFiles.Read(folder)).Message);
        Png("val/1.png", 8, 8);
        Assert.Contains("move each", Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message);
        Png("val/b/1.png", 8, 8);
        Assert.Contains("train/b", Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message);
        Directory.CreateDirectory(Path.Combine(folder, "train", "b"));
        Assert.Contains("holds no images", Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message);
        foreach (
            var (options, name) in ((ClassFolderOptions, string)[])
                [
                    (new() { Size = 0 }, "Size"),
                    (new() { ResizeRatio = 0.5 }, "ResizeRatio"),
                    (new() { ImagesPerClass = 0 }, "ImagesPerClass"),
                    (new() { Mean = [1] }, "Mean"),
                ]
        )
            Assert.Contains(name, Assert.Throws<ArgumentException>(() => ImageFiles.Read(folder, options)).Message);
    }

    private static int Level(int x, int y, int channel) => (x * x * 3 + y * 7 + x * y * 5 + channel * 31) % 256;

    private void Png(string name, int width, int height) =>
        Save(
            name,
            width,
            height,
            SKColorType.Rgba8888,
            SKEncodedImageFormat.Png,
            (x, y) => new SKColor((byte)Level(x, y, 0), (byte)Level(x, y, 1), (byte)Level(x, y, 2))
        );

    private void Save(
        string name,
        int width,
        int height,
        SKColorType type,
        SKEncodedImageFormat format,
        Func<int, int, SKColor> colour
    )
    {
        string path = Path.Combine(folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        if (name.EndsWith(".txt", StringComparison.Ordinal))
        {
            File.WriteAllText(path, "no image, and not meant to be one");
            return;
        }
        using var bitmap = new SKBitmap(
            new SKImageInfo(width, height, type, type == SKColorType.Gray8 ? SKAlphaType.Opaque : SKAlphaType.Unpremul)
        );
        for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            bitmap.SetPixel(x, y, colour(x, y));
        using var data = bitmap.Encode(format, 100);
        using var file = File.Create(path);
        data.SaveTo(file);
    }
}
