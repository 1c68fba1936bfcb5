using System.Diagnostics;
using System.Globalization;
using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Models;
using AttentionDistillation.Training;
using AttentionDistillation.Worlds.Images;
using SkiaSharp;

namespace AttentionDistillation.Benchmarks;

/// <summary>Images per second of training batches, made by one thread and by all cores: drawn images in memory and JPEG files.</summary>
internal static class ImageLoading
{
    private const int Batch = 128;
    private const int Files = 256;
    private static readonly TimeSpan Enough = TimeSpan.FromSeconds(3);

    internal static BenchmarkCommand Command { get; } =
        new(
            "image-loading",
            "[--output FOLDER]",
            "Images per second of training batches by one thread and by all cores: drawn images in memory, with light and with two-view augmentation, and JPEG files of 500 x 375 pixels cut to 224; output also writes image-loading-cpu.csv there",
            Run
        );

    private static int Run(Arguments arguments)
    {
        string folder = Directory.CreateTempSubdirectory("image-loading-").FullName;
        try
        {
            WriteFiles(folder);
            var drawn = new KeyObjects().Images(1, ImageSplit.Train, 2_000);
            var large = new KeyObjects(new() { Size = 64 }).Images(1, ImageSplit.Train, 1_000);
            var files = ImageFiles.Read(folder).Train;
            (string Source, Func<int, double> PerSecond)[] measures =
            [
                ("drawn 32 px, flip and shift", workers => Loaded(drawn, ImageAugmentation.Standard, workers)),
                ("drawn 32 px, two-view", workers => Loaded(drawn, ImageAugmentation.TwoView, workers)),
                ("drawn 64 px, flip and shift", workers => Loaded(large, ImageAugmentation.Standard, workers)),
                ("JPEG files to 224 px, flip and shift", workers => Loaded(files, ImageAugmentation.Standard, workers)),
                ("training a ViT on 32 px, flip and shift", workers => Trained(drawn, ImageAugmentation.Standard, workers)),
                ("training a ViT on 32 px, two-view", workers => Trained(drawn, ImageAugmentation.TwoView, workers)),
            ];
            int cores = Environment.ProcessorCount;
            Console.WriteLine($"image-loading: batches of {Batch}, images per second by 1 thread and by {cores}");
            var lines = new List<string>();
            foreach (var (source, perSecond) in measures)
            {
                // Takes turns, so that what else the machine does meets both.
                double[] best = [0, 0];
                for (int round = 0; round < 3; round++)
                for (int which = 0; which < 2; which++)
                    best[which] = Math.Max(best[which], perSecond(which == 0 ? 1 : cores));
                Console.WriteLine(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"  {source, -40} {best[0], 8:F0} {best[1], 8:F0}   x{best[1] / best[0]:F2}"
                    )
                );
                foreach (var (threads, rate) in new[] { (1, best[0]), (cores, best[1]) })
                    lines.Add(
                        $"{source.Replace(",", ";", StringComparison.Ordinal)},{threads},{Batch},{SpeedCommand.Number(rate)}"
                    );
            }
            if (arguments["output"] is { } output)
                SpeedCommand.WriteTable(
                    output,
                    "image-loading-cpu.csv",
                    SpeedCommand.Machine.Describe(TorchSharp.torch.CPU),
                    "source,threads,batch,images_per_second",
                    lines
                );
            return 0;
        }
        finally
        {
            ImageBatches.Workers = null;
            Directory.Delete(folder, recursive: true);
        }
    }

    // Whole steps: images are made between the steps, on threads that must not get into the way of libtorch's.
    private static double Trained(ImageSet images, ImageAugmentation augmentation, int workers)
    {
        const int Steps = 12;
        ImageBatches.Workers = workers;
        using var model = new VitForImageClassification(
            new VitConfig
            {
                HiddenSize = 48,
                Layers = 3,
                Heads = 4,
                IntermediateSize = 192,
                ImageSize = 32,
                PatchSize = 8,
                Labels = images.ClassNames,
            },
            1
        );
        long done = 0;
        var clock = new Stopwatch();
        using var trainer = new Trainer(
            model,
            TraceRequest.Nothing,
            (trace, batch) =>
            {
                if (++done == 3)
                    clock.Restart();
                return LossTerms.Of("labels", TokenPrediction.CrossEntropy(trace.Output, batch.Labels));
            },
            new TrainingOptions
            {
                Steps = Steps,
                LearningRate = 1e-3,
                Seed = 1,
            }
        );
        trainer.Run(images.Training(1, Batch, augmentation));
        return (Steps - 2) * Batch / clock.Elapsed.TotalSeconds;
    }

    private static double Loaded(ImageSet images, ImageAugmentation augmentation, int workers)
    {
        ImageBatches.Workers = workers;
        var source = images.Training(1, Batch, augmentation);
        source.BatchAt(0).Dispose();
        var clock = Stopwatch.StartNew();
        long step = 1;
        for (; clock.Elapsed < Enough / 3; step++)
            source.BatchAt(step).Dispose();
        return (step - 1) * Batch / clock.Elapsed.TotalSeconds;
    }

    private static void WriteFiles(string folder)
    {
        var random = new Random(1);
        foreach (string split in (string[])["train", "val"])
            for (int number = 0; number < (split == "val" ? 2 : Files); number++)
            {
                string place = Path.Combine(folder, split, $"class {number % 2}");
                Directory.CreateDirectory(place);
                using var bitmap = new SKBitmap(500, 375);
                using var canvas = new SKCanvas(bitmap);
                // Shapes and noise: a file of some 100 KB, as photographs of this size are.
                for (int shape = 0; shape < 200; shape++)
                {
                    using var paint = new SKPaint { Color = new SKColor((uint)random.Next() | 0xff000000) };
                    canvas.DrawCircle(random.Next(500), random.Next(375), random.Next(4, 60), paint);
                }
                using var data = bitmap.Encode(SKEncodedImageFormat.Jpeg, 90);
                using var file = File.Create(Path.Combine(place, $"{number}.jpeg"));
                data.SaveTo(file);
            }
    }
}
