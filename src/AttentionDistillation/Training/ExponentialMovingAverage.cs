using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// A running average of weights (Polyak averaging): average = decay * average + (1 - decay) * weight after every step, from the first weights
/// on. Kept in float32 or better.
/// </summary>
public sealed class ExponentialMovingAverage : IDisposable
{
    private readonly string[] names;
    private readonly Tensor[] sources;
    private readonly Tensor[] averages;

    /// <summary>Starts an average of a model's parameters at their present values.</summary>
    /// <param name="model">The model; it must not be moved or converted afterwards.</param>
    /// <param name="decay">How much of the average each update keeps, in (0, 1).</param>
    /// <exception cref="ArgumentException">The decay is out of range, or the model has no parameters.</exception>
    public ExponentialMovingAverage(nn.Module model, double decay)
        : this(model.named_parameters().Select(item => (item.name, (Tensor)item.parameter)), decay) { }

    internal ExponentialMovingAverage(IEnumerable<(string Name, Tensor Value)> weights, double decay)
    {
        if (decay is not (> 0 and < 1))
            throw new ArgumentException(
                $"The decay must be between 0 and 1, but is {decay}. Usual values are 0.99 to 0.9999.",
                nameof(decay)
            );
        Decay = decay;
        var items = weights.ToArray();
        if (items.Length == 0)
            throw new ArgumentException("There are no weights to average.", nameof(weights));
        names = [.. items.Select(item => item.Name)];
        sources = [.. items.Select(item => item.Value)];
        using var guard = no_grad();
        averages =
        [
            .. sources.Select(item =>
                item.to(item.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32, copy: true)
                    .detach_()
                    .DetachFromDisposeScope()
            ),
        ];
    }

    /// <summary>How much of the average each update keeps.</summary>
    public double Decay { get; }

    /// <summary>The averages by parameter name; the tensors are the state itself, not copies.</summary>
    public IEnumerable<(string Name, Tensor Value)> Values => names.Zip(averages);

    /// <summary>Takes the present weights in; call it once after every optimiser step.</summary>
    public void Update()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var values = sources;
        if (sources.Zip(averages).Any(pair => pair.First.dtype != pair.Second.dtype))
        {
            values = TorchScriptOperators.EmptyLike(averages);
            TorchScriptOperators.CopyAll(values, sources);
        }
        TorchScriptOperators.LerpAll(averages, values, 1.0 - Decay);
    }

    /// <summary>Writes the averages into a model's parameters of the same names; buffers stay as they are.</summary>
    /// <exception cref="ArgumentException">The model lacks a parameter; the message names it.</exception>
    public void CopyTo(nn.Module model) => TorchScriptOperators.CopyAll(Targets(model), averages);

    /// <summary>Puts the averages into a model until the result is disposed, which puts the model's own weights back: for evaluation.</summary>
    /// <exception cref="ArgumentException">The model lacks a parameter; the message names it.</exception>
    public IDisposable Lend(nn.Module model)
    {
        var targets = Targets(model);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        Tensor[] own = [.. targets.Select(item => item.detach().clone().DetachFromDisposeScope())];
        TorchScriptOperators.CopyAll(targets, averages);
        return new Loan(targets, own);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var average in averages)
            average.Dispose();
    }

    private Tensor[] Targets(nn.Module model)
    {
        ArgumentNullException.ThrowIfNull(model);
        var parameters = model.named_parameters().ToDictionary(item => item.name, item => (Tensor)item.parameter);
        return
        [
            .. names.Select(name =>
                parameters.TryGetValue(name, out var target)
                    ? target
                    : throw new ArgumentException(
                        $"The model has no parameter '{name}', which was averaged. Give the model that was trained."
                    )
            ),
        ];
    }

    private sealed class Loan(Tensor[] targets, Tensor[] own) : IDisposable
    {
        private bool returned;

        public void Dispose()
        {
            if (returned)
                return;
            returned = true;
            TorchScriptOperators.CopyAll(targets, own);
            foreach (var tensor in own)
                tensor.Dispose();
        }
    }
}
