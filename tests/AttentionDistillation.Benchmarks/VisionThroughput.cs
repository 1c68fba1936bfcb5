using System.Diagnostics;
using System.Globalization;
using AttentionDistillation.Models;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>Images per second of the vision models, forward and with backward, and of single convolutions in both memory layouts.</summary>
internal static class VisionThroughput
{
    internal static BenchmarkCommand Command { get; } =
        new(
            "vision-throughput",
            "[--device cpu|cuda] [--precision single|bfloat16] [--batch N] [--output FOLDER]",
            "Images per second of the vision models, and of convolutions in the default layout beside channels last; output also writes vision-throughput-DEVICE.csv there",
            Run
        );

    private const int WarmUps = 2;
    private const int Seed = 1;
    private static readonly TimeSpan Enough = TimeSpan.FromSeconds(2);

    private static int Run(Arguments arguments)
    {
        var device = Devices.Resolve(arguments["device"]);
        var type = arguments["precision"] == "bfloat16" ? ScalarType.BFloat16 : ScalarType.Float32;
        int batch = arguments.Number("batch", 32);
        Console.WriteLine($"vision-throughput on {Devices.Describe(device)}, {type}, batches of {batch}");
        var lines = new List<string>();
        Layouts(device, type, batch, lines);
        Models(device, type, batch, lines);
        if (arguments["output"] is { } output)
            Write(output, device, lines);
        return 0;
    }

    private static void Write(string folder, Device device, List<string> lines)
    {
        var machine = SpeedCommand.Machine.Describe(device);
        string suffix = device.type == DeviceType.CUDA ? machine.Short : "cpu";
        SpeedCommand.WriteTable(
            folder,
            $"vision-throughput-{suffix}.csv",
            machine,
            "what,measure,precision,batch,images_per_second",
            lines
        );
    }

    private static string Line(string what, string measure, ScalarType type, int batch, double seconds) =>
        $"{what.Replace(",", ";", StringComparison.Ordinal)},{measure},{type},{batch},{SpeedCommand.Number(batch / seconds)}";

    private static void Layouts(Device device, ScalarType type, int batch, List<string> lines)
    {
        Console.WriteLine("3 x 3 convolution, forward and backward   default layout   channels last   (ms)");
        foreach (var (channels, side) in new[] { (16L, 32L), (32L, 16L), (64L, 8L), (64L, 56L), (128L, 28L) })
        {
            using var scope = NewDisposeScope();
            var weight = randn(channels, channels, 3, 3, dtype: type, device: device).requires_grad_();
            var plain = randn(batch, channels, side, side, dtype: type, device: device);
            double[] times =
            [
                .. new[] { plain, ImageLayout.ChannelsLast(plain) }.Select(map =>
                    Seconds(
                        device,
                        () =>
                        {
                            var input = map.detach().requires_grad_();
                            nn.functional.conv2d(input, weight, padding: [1, 1]).relu().sum().backward();
                        }
                    )
                ),
            ];
            string shape = string.Create(CultureInfo.InvariantCulture, $"{channels} channels, {side} x {side}");
            Console.WriteLine(
                string.Create(CultureInfo.InvariantCulture, $"  {shape, -38} {times[0] * 1e3, 14:F2} {times[1] * 1e3, 15:F2}")
            );
            foreach (var (layout, seconds) in new[] { "default layout", "channels last" }.Zip(times))
                lines.Add(Line($"convolution 3 x 3; {shape}", $"forward and backward; {layout}", type, batch, seconds));
        }
    }

    private static void Models(Device device, ScalarType type, int batch, List<string> lines)
    {
        (string Name, long Side, Func<ImageModel> Build)[] models =
        [
            ("ResNet-20, 32 px", 32, () => new ResNetForImageClassification(ResNetConfig.Cifar(20), Seed)),
            ("ResNet-18 for CIFAR, 32 px", 32, () => new ResNetForImageClassification(ResNetConfig.ResNet18Cifar, Seed)),
            (
                "TinyViT 32/64/96/128, 32 px",
                32,
                () =>
                    new HierarchicalVisionTransformer(
                        HierarchicalConfig.TinyVit([32, 64, 96, 128], 0.0, [1, 1, 2, 1], [4, 2, 1]) with
                        {
                            ImageSize = 32,
                        },
                        Seed
                    )
            ),
            ("U-Net 16/32/64/128, 64 px", 64, () => new SegmentationUNet(new SegmentationUNetConfig(), Seed)),
            (
                "ViT of 4 layers of 96, patch 4, 32 px",
                32,
                () =>
                    new VitForImageClassification(
                        new VitConfig
                        {
                            HiddenSize = 96,
                            Layers = 4,
                            Heads = 4,
                            IntermediateSize = 384,
                            ImageSize = 32,
                            PatchSize = 4,
                        },
                        Seed
                    )
            ),
        ];
        Console.WriteLine("model                                     forward   forward and backward   (images/s)");
        foreach (var (name, side, build) in models)
        {
            using var scope = NewDisposeScope();
            using var model = build();
            model.to(device);
            model.to(type);
            var images = randn(batch, 3, side, side, dtype: type, device: device);
            double forward;
            using (no_grad())
                forward = Seconds(device, () => model.call(images, null));
            double both = Seconds(
                device,
                () =>
                {
                    model.call(images, null).sum().backward();
                    model.zero_grad();
                }
            );
            Console.WriteLine(
                string.Create(CultureInfo.InvariantCulture, $"  {name, -38} {batch / forward, 8:F0} {batch / both, 22:F0}")
            );
            lines.Add(Line(name, "forward", type, batch, forward));
            lines.Add(Line(name, "forward and backward", type, batch, both));
        }
    }

    // The best of several runs: what the machine can do when it is left alone.
    private static double Seconds(Device device, Action work)
    {
        double best = double.PositiveInfinity;
        var clock = Stopwatch.StartNew();
        for (int time = 0; time < WarmUps + 3 || (clock.Elapsed < Enough && time < 50); time++)
        {
            using var scope = NewDisposeScope();
            double start = clock.Elapsed.TotalSeconds;
            work();
            if (device.type == DeviceType.CUDA)
                cuda.synchronize(device);
            if (time >= WarmUps)
                best = Math.Min(best, clock.Elapsed.TotalSeconds - start);
        }
        return best;
    }
}
