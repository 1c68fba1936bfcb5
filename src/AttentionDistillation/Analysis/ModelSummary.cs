using System.Globalization;
using System.Text.RegularExpressions;
using AttentionDistillation.Attention;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>One module of a model.</summary>
/// <param name="Name">Its path, empty for the model itself.</param>
/// <param name="Type">Its type.</param>
/// <param name="Depth">Its depth in the tree, 0 for the model.</param>
/// <param name="Output">Shapes of what its last call gave; null for a module that was not called (a list, or a table read by others).</param>
/// <param name="Parameters">Parameters of it and of all below it, a shared one once.</param>
/// <param name="MultiplyAdds">Multiply-adds of it and of all below it, attention maps left out.</param>
/// <param name="Repeats">How many alike modules in a row this one stands for (see <see cref="ModelSummary.Collapsed"/>).</param>
public sealed record SummaryRow(
    string Name,
    string Type,
    int Depth,
    string? Output,
    long Parameters,
    long MultiplyAdds,
    int Repeats = 1
);

/// <summary>
/// The modules of a model with their parameters, output shapes and multiply-adds, found by running it once on a batch: the same for every family.
/// </summary>
/// <remarks>
/// Counted exactly: linear layers (rows x inputs x outputs), convolutions (output elements x weights per output channel), products that modules
/// announce (<see cref="IOwnProducts"/>: heads tied to a word table, fused projections) and, from the recorded calls, attention: B H L S (D + value
/// width), a causal or windowed map counted whole. Left out, as is usual: softmax, norms, activations, biases, look-ups, additions.
/// </remarks>
[TypeFormatterSource(typeof(HtmlFormatterSource))]
public sealed partial class ModelSummary : IHtmlValue
{
    private const long OperationsPerMultiplyAdd = 2;

    private ModelSummary(string model, IReadOnlyList<SummaryRow> rows, long attention, long examples) =>
        (Model, Rows, AttentionMultiplyAdds, Examples) = (model, rows, attention, examples);

    /// <summary>The model's type.</summary>
    public string Model { get; }

    /// <summary>The modules in the order of the tree, the model itself first.</summary>
    public IReadOnlyList<SummaryRow> Rows { get; }

    /// <summary>Parameters, a shared one once.</summary>
    public long Parameters => Rows[0].Parameters;

    /// <summary>Multiply-adds of scores and weighted sums of all attention calls.</summary>
    public long AttentionMultiplyAdds { get; }

    /// <summary>Multiply-adds of the whole pass, attention included.</summary>
    public long MultiplyAdds => Rows[0].MultiplyAdds + AttentionMultiplyAdds;

    /// <summary>Floating-point operations of the pass, a multiply-add counted as 2.</summary>
    public long Operations => OperationsPerMultiplyAdd * MultiplyAdds;

    /// <summary>B of the batch that was run.</summary>
    public long Examples { get; }

    /// <summary>Runs a model once, without gradient and in evaluation mode, and lists its modules.</summary>
    /// <param name="model">A traced model that is a TorchSharp module.</param>
    /// <param name="batch">Its input, on its device.</param>
    /// <exception cref="ArgumentException">The model is no module.</exception>
    public static ModelSummary Of(ITracedModel model, Batch batch)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(batch);
        var root =
            model as nn.Module
            ?? throw new ArgumentException(
                $"{model.GetType().Name} is no TorchSharp module, so it has no modules to list.",
                nameof(model)
            );
        (string Name, nn.Module Module)[] modules = [.. Tree("", root)];
        var own = new long[modules.Length];
        var outputs = new string?[modules.Length];
        var hooks = new List<Action>();
        bool wasTraining = root.training;
        long attention = 0;
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        try
        {
            root.eval();
            for (int number = 0; number < modules.Length; number++)
            {
                int place = number;
                var module = modules[number].Module;
                var hook = ForwardHooks.Watch(
                    module,
                    (input, result) =>
                    {
                        Tensor[] tensors = [.. ForwardHooks.Tensors(result)];
                        own[place] += MultiplyAddsOf(module, input as Tensor, tensors);
                        if (tensors.Length > 0)
                            outputs[place] = string.Join(" ", tensors.Select(Shapes.Describe));
                    }
                );
                if (hook is not null)
                    hooks.Add(hook);
            }
            hooks.Add(
                ImageLayout.WatchDirect(
                    (convolution, output) =>
                    {
                        int place = Array.FindIndex(modules, item => ReferenceEquals(item.Module, convolution));
                        if (place < 0)
                            return;
                        own[place] += MultiplyAddsOf(convolution, null, [output]);
                        outputs[place] = Shapes.Describe(output);
                    }
                )
            );
            var trace = new ForwardTrace(
                model.Capabilities.Layers > 0 ? TraceRequest.AllAttention : TraceRequest.Nothing,
                model.Capabilities
            );
            model.Run(batch, trace);
            attention = trace.Attentions.Values.Sum(state =>
                state.Query.size(0)
                * state.Heads
                * state.Query.size(2)
                * state.Key.size(2)
                * (state.Query.size(3) + state.Value.size(3))
            );
        }
        finally
        {
            foreach (var hook in hooks)
                hook();
            root.train(wasTraining);
        }
        return new ModelSummary(root.GetType().Name, [.. RowsOf(modules, own, outputs)], attention, batch.Size);
    }

    /// <summary>The rows down to a depth, alike neighbours (layers of a stack) as one.</summary>
    /// <param name="depth">The deepest rows shown; 0 for the model alone.</param>
    public ModelSummary Collapsed(int depth = 3)
    {
        var kept = new List<SummaryRow>();
        string? hidden = null; // below a row that an earlier one stands for
        foreach (var row in Rows.Where(row => row.Depth <= depth))
        {
            if (hidden is not null && row.Name.StartsWith(hidden, StringComparison.Ordinal))
                continue;
            hidden = null;
            int twin = kept.FindLastIndex(other => other.Depth == row.Depth);
            if (
                twin >= 0
                && kept.Skip(twin + 1).All(below => below.Depth > row.Depth)
                && Numberless(kept[twin].Name) == Numberless(row.Name)
                && kept[twin].Name != row.Name
                && kept[twin] with { Name = row.Name, Repeats = 1 } == row
            )
            {
                kept[twin] = kept[twin] with { Repeats = kept[twin].Repeats + 1 };
                hidden = row.Name + ".";
            }
            else
                kept.Add(row);
        }
        return new ModelSummary(Model, kept, AttentionMultiplyAdds, Examples);
    }

    /// <summary>The rows as a table, with totals.</summary>
    public string ToHtml()
    {
        string Number(long value) => value == 0 ? "" : value.ToString("N0", CultureInfo.InvariantCulture);
        IEnumerable<string[]> body = Rows.Select(row =>
            (string[])
                [
                    new string('\u00a0', 2 * row.Depth)
                        + (row.Depth == 0 ? Model : row.Name.Split('.')[^1])
                        + (row.Repeats > 1 ? $" × {row.Repeats}" : ""),
                    row.Type,
                    row.Output ?? "",
                    Number(row.Parameters),
                    Number(row.MultiplyAdds),
                ]
        );
        if (AttentionMultiplyAdds > 0)
            body = body.Append(["attention maps", "scores and weighted sums", "", "", Number(AttentionMultiplyAdds)]);
        body = body.Append(["all", "", "", Number(Parameters), Number(MultiplyAdds)]);
        string what = string.Create(
            CultureInfo.InvariantCulture,
            $"{Model}: {Parameters:N0} parameters, {Short(Operations)}FLOP for {Examples} example{(Examples == 1 ? "" : "s")} (a multiply-add is 2)"
        );
        return HtmlTable.Of(what, ["Module", "Type", "Output", "Parameters", "Multiply-adds"], [.. body]);
    }

    private static IEnumerable<(string Name, nn.Module Module)> Tree(string name, nn.Module module)
    {
        yield return (name, module);
        foreach (var (child, below) in module.named_children())
        foreach (var row in Tree(name.Length == 0 ? child : $"{name}.{child}", below))
            yield return row;
    }

    private static IEnumerable<SummaryRow> RowsOf((string Name, nn.Module Module)[] modules, long[] own, string?[] outputs)
    {
        for (int number = 0; number < modules.Length; number++)
        {
            var (name, module) = modules[number];
            string prefix = name.Length == 0 ? "" : name + ".";
            long all = Enumerable
                .Range(0, modules.Length)
                .Where(other => other == number || modules[other].Name.StartsWith(prefix, StringComparison.Ordinal))
                .Sum(other => own[other]);
            int depth = name.Length == 0 ? 0 : name.Count(character => character == '.') + 1;
            string type = module.GetType().Name.Split('`')[0];
            yield return new SummaryRow(name, type, depth, outputs[number], ModelCost.Parameters(module), all);
        }
    }

    private static long MultiplyAddsOf(nn.Module module, Tensor? input, Tensor[] outputs)
    {
        if (outputs.Length == 0)
            return 0;
        long elements = outputs[0].numel();
        return module switch
        {
            IOwnProducts product => product.MultiplyAdds(outputs[0]),
            Linear linear => elements * linear.weight!.size(1),
            Conv1d or Conv2d or Conv3d => elements * PerChannel(module),
            // Every input element meets every weight of its channel.
            ConvTranspose1d or ConvTranspose2d or ConvTranspose3d when input is not null => input.numel() * PerChannel(module),
            _ => 0,
        };
    }

    private static long PerChannel(nn.Module convolution)
    {
        var weight = convolution.named_parameters(false).First(item => item.name == "weight").parameter;
        return weight.numel() / weight.size(0);
    }

    // Four digits and the unit's prefix.
    private static string Short(double value)
    {
        string[] prefixes = ["", "k", "M", "G", "T", "P"];
        int step = value < 1000 ? 0 : Math.Min((int)(Math.Log10(value) / 3), prefixes.Length - 1);
        return string.Create(CultureInfo.InvariantCulture, $"{value / Math.Pow(1000, step):G4} {prefixes[step]}");
    }

    private static string Numberless(string name) => Numbers().Replace(name, "#");

    [GeneratedRegex(@"\d+")]
    private static partial Regex Numbers();
}
