using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

/// <summary>Every checkpoint folder of <see cref="HubFixtures"/> against what transformers computed from it.</summary>
[Trait("Kind", "Interop")]
public sealed class HubInteropTests(ITestOutputHelper output)
{
    /// <summary>Absolute, float32 on the CPU: a few hundred units in the last place of values of order 1 to 10, from another order of summation.</summary>
    private const double Tolerance = 1e-4;

    [Theory]
    [MemberData(nameof(HubFixtures.SupportedNames), MemberType = typeof(HubFixtures))]
    public void OutputsHiddenStatesAndMapsEqualThoseOfTransformers(string name)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = Hub.Load(HubFixtures.Folder(name), dtype: ScalarType.Float32);
        using var expected = SafeTensorsFile.Open(Path.Combine(HubFixtures.Folder(name), "expected.safetensors"));
        var batch = new Batch();
        foreach (string input in expected.Entries.Keys.Where(key => key.StartsWith("in/", StringComparison.Ordinal)))
            batch[input["in/".Length..]] = expected.Read(input);
        var request = TraceRequest.AllAttention + TraceRequest.AllHidden + TraceRequest.Features(model.Capabilities.Features);
        var trace = new ForwardTrace(request, model.Capabilities);
        model.Run(batch, trace);

        var mask = batch.Mask?.to(ScalarType.Bool);
        int compared = 0;
        var failures = new List<string>();
        foreach (string key in expected.Entries.Keys.Where(key => key.StartsWith("out/", StringComparison.Ordinal)))
        {
            var actual = Recorded(trace, model, key["out/".Length..]);
            double difference = Difference(actual, expected.Read(key), mask);
            output.WriteLine($"{name} {key}: {difference:E1}");
            failures.AddRange(difference <= Tolerance ? [] : new[] { $"{key} by {difference:E3}" });
            compared++;
        }
        Assert.True(compared > 0, $"{name} expects nothing.");
        Assert.True(failures.Count == 0, $"{name} differs, allowed is {Tolerance:E0}: {string.Join(", ", failures)}.");
    }

    [Theory]
    [MemberData(nameof(HubFixtures.SupportedNames), MemberType = typeof(HubFixtures))]
    public void SavingGivesTheSameTensorsToTheBit(string name)
    {
        using var scope = NewDisposeScope();
        string folder = Directory.CreateTempSubdirectory("hub-").FullName;
        try
        {
            using (var model = Hub.Load(HubFixtures.Folder(name)))
                Hub.Save(model, folder);
            using var before = SafeTensorsFile.Open(Path.Combine(HubFixtures.Folder(name), Checkpoint.SingleFile));
            using var after = SafeTensorsFile.Open(Path.Combine(folder, Checkpoint.SingleFile));
            Assert.Equal(before.Entries.Keys.Order(), after.Entries.Keys.Order());
            foreach (var (key, entry) in before.Entries)
            {
                Assert.Equal(entry.Description, after.Entries[key].Description);
                Assert.True(before.Bytes(key).SequenceEqual(after.Bytes(key)), $"{name}: {key} changed.");
            }
            Assert.Equal("pt", after.Metadata["format"]);
            var was = System
                .Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(Path.Combine(HubFixtures.Folder(name), Hub.ConfigFile)))!
                .AsObject();
            var now = System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(Path.Combine(folder, Hub.ConfigFile)))!.AsObject();
            foreach (var (option, value) in was)
                Assert.True(
                    System.Text.Json.Nodes.JsonNode.DeepEquals(value, now[option]),
                    $"{name}: {option} was {value?.ToJsonString()}, is {now[option]?.ToJsonString()}."
                );
            using var again = Hub.Load(folder);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>
    /// bfloat16 rounds to 2^-9 relative. Weights, and the result of every layer, are rounded; a few dozen such errors, most of them independent,
    /// stay below a few hundredths of the largest value in models as shallow as the fixtures.
    /// </summary>
    private const double HalfTolerance = 0.05;

    // CLIP's logits are cosines times a factor, and those of unlike pairs are small beside it: the rounding is that of the cosines.
    private const double HalfCosineTolerance = 0.01;

    [Theory]
    [MemberData(nameof(HubFixtures.SupportedNames), MemberType = typeof(HubFixtures))]
    public void InHalfPrecisionOutputsAreWithinItsRounding(string name)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = Hub.Load(HubFixtures.Folder(name), dtype: ScalarType.BFloat16);
        Assert.All(
            model.HubParameters().Values.Where(tensor => tensor.is_floating_point()),
            tensor => Assert.Equal(ScalarType.BFloat16, tensor.dtype)
        );
        using var expected = SafeTensorsFile.Open(Path.Combine(HubFixtures.Folder(name), "expected.safetensors"));
        var batch = new Batch();
        foreach (string input in expected.Entries.Keys.Where(key => key.StartsWith("in/", StringComparison.Ordinal)))
        {
            var tensor = expected.Read(input);
            batch[input["in/".Length..]] = tensor.is_floating_point() ? tensor.to(ScalarType.BFloat16) : tensor;
        }
        var trace = new ForwardTrace(TraceRequest.Features(model.Capabilities.Features), model.Capabilities);
        model.Run(batch, trace);
        var mask = batch.Mask?.to(ScalarType.Bool);
        string[] compared =
        [
            .. expected.Entries.Keys.Where(key =>
                key.StartsWith("out/", StringComparison.Ordinal)
                && !key.StartsWith("out/hidden.", StringComparison.Ordinal)
                && !key.StartsWith("out/attention.", StringComparison.Ordinal)
            ),
        ];
        Assert.NotEmpty(compared);
        foreach (string key in compared)
        {
            var wanted = expected.Read(key);
            double size = wanted.abs().max().ToDouble();
            double difference = Difference(Recorded(trace, model, key["out/".Length..]), wanted, mask);
            double allowed = key.Contains("logits_per_", StringComparison.Ordinal)
                ? HalfCosineTolerance * model.HubParameters()["logit_scale"].exp().ToDouble()
                : HalfTolerance * size;
            Assert.True(difference <= allowed, $"{name}, {key}: {difference:g3} of {size:g3}, allowed {allowed:g3}.");
        }
    }

    [Fact]
    public void PendingFamilies()
    {
        string[] pending =
        [
            .. HubFixtures.Pending.Select(folder => $"{Path.GetFileName(folder)} ({HubFixtures.FamilyOf(folder)})"),
        ];
        output.WriteLine(
            $"Supported: {HubFixtures.Supported.Count()} folders. Pending, because their family is not built yet: {pending.Length}: {string.Join(", ", pending)}."
        );
        Assert.All(
            HubFixtures.Pending,
            folder =>
            {
                var error = Assert.Throws<NotSupportedException>(() => Hub.Load(folder));
                Assert.All(Hub.SupportedFamilies, family => Assert.Contains(family, error.Message));
            }
        );
        Assert.NotEmpty(HubFixtures.Supported);
    }

    private static Tensor Recorded(ForwardTrace trace, IHubModel model, string name)
    {
        if (name.StartsWith("hidden.", StringComparison.Ordinal))
            return trace.Hidden(int.Parse(name["hidden.".Length..]));
        if (name.StartsWith("attention.", StringComparison.Ordinal))
            return trace.Attention(int.Parse(name["attention.".Length..])).Probabilities();
        return model.Capabilities.Features.Contains(name) ? trace.Feature(name) : trace.Output;
    }

    /// <summary>The largest absolute difference over the rows of real tokens: axis 1 of hidden states and token scores, axis 2 of maps.</summary>
    private static double Difference(Tensor actual, Tensor expected, Tensor? mask)
    {
        Assert.Equal(expected.shape, actual.shape);
        var difference = (actual.to(ScalarType.Float64) - expected.to(ScalarType.Float64)).abs();
        if (mask is not null)
        {
            mask = mask.reshape(-1, mask.shape[^1]); // of multiple choice: every choice is a sequence of its own
            long length = mask.size(1);
            if (difference.dim() == 4)
                difference = difference.masked_fill(mask.logical_not().unsqueeze(1).unsqueeze(-1), 0.0);
            else if (difference.dim() == 3 && difference.size(1) == length)
                difference = difference.masked_fill(mask.logical_not().unsqueeze(-1), 0.0);
        }
        double largest = difference.max().ToDouble();
        return double.IsNaN(largest) ? double.PositiveInfinity : largest;
    }
}
