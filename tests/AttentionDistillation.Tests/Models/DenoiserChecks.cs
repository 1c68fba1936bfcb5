using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

/// <summary>Checks that the denoisers share.</summary>
internal static class DenoiserChecks
{
    /// <summary>Moves every parameter off its start, so that branches that start as zero take part.</summary>
    internal static void Perturb(nn.Module model, long seed)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var generator = new Generator((ulong)seed, CPU);
        foreach (var parameter in model.parameters())
            parameter.add_(randn(parameter.shape, dtype: parameter.dtype, generator: generator) * 0.1);
    }

    /// <summary>Autograd's derivative along a random direction in all parameters equals the central difference, in float64; nothing reads what <paramref name="unread"/> names.</summary>
    internal static void Derivative(nn.Module model, Func<Tensor> loss, params string[] unread)
    {
        const double Step = 1e-5;
        using var scope = NewDisposeScope();
        var generator = new Generator(77, CPU);
        (string Name, Tensor Value)[] named =
        [
            .. model
                .named_parameters()
                .Where(item => !unread.Any(part => item.name.StartsWith(part, StringComparison.Ordinal)))
                .Select(item => (item.name, (Tensor)item.parameter)),
        ];
        Tensor[] weights = [.. named.Select(item => item.Value)];
        Tensor[] direction = [.. weights.Select(item => randn(item.shape, dtype: ScalarType.Float64, generator: generator))];
        loss().backward();
        double analytic = 0;
        foreach (var ((name, weight), along) in named.Zip(direction))
        {
            Assert.True(weight.grad?.abs().sum().item<double>() > 0, $"{name} has no gradient");
            analytic += (weight.grad! * along).sum().item<double>();
        }
        double At(double step)
        {
            using var guard = no_grad();
            foreach (var (weight, along) in weights.Zip(direction))
                weight.add_(along * step);
            double value = loss().item<double>();
            foreach (var (weight, along) in weights.Zip(direction))
                weight.sub_(along * step);
            return value;
        }
        double numeric = (At(Step) - At(-Step)) / (2 * Step);
        Assert.True(
            Math.Abs(numeric - analytic) <= 1e-6 * Math.Max(Math.Abs(analytic), 1),
            $"{analytic} by autograd, {numeric} by differences"
        );
    }

    /// <summary>Everything a trace can hold is recorded, lives after the pass, and the maps are distributions.</summary>
    internal static ForwardTrace Full(ITracedModel model, Batch batch)
    {
        var request = TraceRequest.AllAttention + TraceRequest.AllHidden + TraceRequest.Features(model.Capabilities.Features);
        var trace = new ForwardTrace(request, model.Capabilities);
        model.Run(batch, trace);
        Assert.Equal(model.Capabilities.Layers, trace.Attentions.Count);
        foreach (var state in trace.Attentions.Values)
        {
            var sums = state.Probabilities().sum(-1);
            Check.Close(ones_like(sums), sums, 1e-5, "row sums");
        }
        for (int number = 0; number <= model.Capabilities.Layers; number++)
            Assert.Equal(3, trace.Hidden(number).dim());
        foreach (string name in model.Capabilities.Features)
            Assert.True(trace.Feature(name).isfinite().all().ToBoolean(), name);
        return trace;
    }

    /// <summary>A pass that stops early records the same as a full one, and no output.</summary>
    internal static void StopsEarly(ITracedModel model, Batch batch, int layer, ForwardTrace full)
    {
        var trace = new ForwardTrace(TraceRequest.Attention(layer), model.Capabilities, wantsOutput: false);
        model.Run(batch, trace);
        Check.Close(full.Attention(layer).Query, trace.Attention(layer).Query, 1e-6, "query");
        Assert.Throws<InvalidOperationException>(() => trace.Output);
    }
}
