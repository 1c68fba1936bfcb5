using AttentionDistillation.Attention;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Models.Slicing;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Slicing;

public class ModelSlicerTests
{
    private static readonly Tensor Ids = tensor(
        new long[,]
        {
            { 1, 5, 7, 2, 0 },
            { 1, 6, 3, 9, 2 },
        }
    );
    private static readonly Tensor Mask = RandomTensors.Mask(5, 4, 5);

    private static BertConfig Config { get; } =
        new()
        {
            VocabularySize = 12,
            HiddenSize = 12,
            Layers = 4,
            Heads = 3,
            IntermediateSize = 20,
            MaximumPositions = 8,
            HiddenDropout = 0,
            AttentionDropout = 0,
            InitializerRange = 0.4,
        };

    private static BertForMaskedLanguageModel Bert(BertConfig? config = null)
    {
        var model = new BertForMaskedLanguageModel(config ?? Config, 1);
        // Norms and biases are constants at the start and would hide a wrong order.
        using var guard = no_grad();
        var generator = new Generator(5, CPU);
        foreach (var (_, parameter) in model.named_parameters())
            if (parameter.dim() == 1)
                parameter.add_(randn(parameter.shape, generator: generator) * 0.3);
        model.eval();
        return model;
    }

    private static Tensor Output(IHubModel model)
    {
        using var guard = no_grad();
        var trace = new ForwardTrace(TraceRequest.Nothing, model.Capabilities);
        model.Run(new Batch(("input_ids", Ids), ("attention_mask", Mask)), trace);
        return trace.Output;
    }

    [Fact]
    public void KeepingAllInAnotherOrderChangesNothing()
    {
        using var model = Bert();
        using var shuffled = ModelSlicer.Slice(
            model,
            new SlicePlan
            {
                Channels = [3, 1, 0, 2, 11, 10, 4, 5, 6, 9, 8, 7],
                Heads = [HeadCut.Keep(2, 0, 1)],
                Neurons =
                [
                    [.. Enumerable.Range(0, 20).Reverse()],
                ],
            }
        );
        Check.Close(Output(model), Output(shuffled), 1e-5);
        Assert.Null(shuffled.Config.HeadWidth);
    }

    [Fact]
    public void APartOfNoEffectCanBeCutAway()
    {
        using var model = Bert();
        using (no_grad())
            foreach (var (name, weight) in model.HubParameters())
            {
                // Head 1 and neurons 4 to 19 write nothing; channel 11 holds nothing but the norms' share, so it stays.
                if (name.EndsWith("attention.output.dense.weight", StringComparison.Ordinal))
                    weight.narrow(1, 4, 4).zero_();
                if (
                    name.Contains(".layer.", StringComparison.Ordinal)
                    && name.EndsWith("output.dense.weight", StringComparison.Ordinal)
                    && weight.size(1) == 20
                )
                    weight.narrow(1, 4, 16).zero_();
            }
        using var cut = ModelSlicer.Slice(model, SlicePlan.First(null, null, null, 4) with { Heads = [HeadCut.Keep(0, 2)] });
        Check.Close(Output(model), Output(cut), 1e-5);
        Assert.Equal((2, 4, 4), (cut.Config.Heads, cut.Config.HeadWidth, cut.Config.IntermediateSize));
    }

    [Fact]
    public void LayersAreThoseNamed()
    {
        using var model = Bert();
        using var student = ModelSlicer.Slice(model, SlicePlan.OfLayers(LayerSelection.EveryNth(4)));
        var (teacher, half) = (model.HubParameters(), student.HubParameters());
        Assert.Equal(2, student.Config.Layers);
        Assert.Equal(
            teacher["bert.encoder.layer.2.intermediate.dense.weight"],
            half["bert.encoder.layer.1.intermediate.dense.weight"]
        );
        Assert.Equal(teacher["cls.predictions.bias"], half["cls.predictions.bias"]);
    }

    [Fact]
    public void ASliceIsSavedAndLoaded()
    {
        using var folder = new TemporaryFolder();
        using var model = Bert();
        using var slice = ModelSlicer.Slice(model, SlicePlan.First([0, 3], 10, 2, 7));
        Hub.Save(slice, folder.Path);
        using var loaded = Hub.Load<BertForMaskedLanguageModel>(folder.Path);
        Check.Close(Output(slice), Output(loaded), 1e-12);
    }

    [Fact]
    public void AStudentThatExistsIsFilled()
    {
        using var model = Bert();
        using var student = new BertModel(Config with { Layers = 2, AddPooler = false }, 7);
        using var teacher = new BertModel(Config with { AddPooler = false }, 3);
        Assert.Empty(ModelSlicer.CopyInto(teacher, student, SlicePlan.OfLayers([1, 3])));
        Assert.Equal(
            teacher.HubParameters()["encoder.layer.3.output.dense.weight"],
            student.HubParameters()["encoder.layer.1.output.dense.weight"]
        );
        Assert.Contains(
            "does not fit",
            Assert
                .Throws<ArgumentException>(() => ModelSlicer.CopyInto(teacher, student, SlicePlan.First([1, 3], 8, null, null)))
                .Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void MergingFoldsTheDifferenceOfAPair()
    {
        var heads = new RandomTensors(3).Normal(4, 2);
        int[] ranking = [2, 0, 3, 1];
        // Ranked: 2 0 3 1; three kept, so the third takes the fourth's difference.
        Check.Close(stack([heads[2], heads[0], heads[3] * 2 - heads[1]]), WeightCuts.TakeMerged(heads, 0, ranking, 3), 1e-12);
        // More than half cut: every kept head has a partner, and those beyond are dropped.
        Check.Close((heads[2] * 2 - heads[0]).unsqueeze(0), WeightCuts.TakeMerged(heads, 0, ranking, 1), 1e-12);
        Check.Close(heads.index_select(0, tensor(ranking)), WeightCuts.TakeMerged(heads, 0, ranking, 4), 1e-12);
    }

    [Fact]
    public void NonsenseIsRefused()
    {
        using var model = Bert();
        void Refused(SlicePlan plan, string says) =>
            Assert.Contains(
                says,
                Assert.Throws<ArgumentException>(() => ModelSlicer.Slice(model, plan)).Message,
                StringComparison.Ordinal
            );
        Refused(SlicePlan.OfLayers([4]), "layers 0 to 3");
        Refused(new SlicePlan { Channels = [0, 0] }, "twice");
        Refused(new SlicePlan { Heads = [HeadCut.Keep(0), HeadCut.Keep(1)] }, "each of the 4 layers");
        Refused(
            new SlicePlan
            {
                Neurons =
                [
                    [0],
                    [1],
                    [2, 3],
                    [4],
                ],
            },
            "as many neurons"
        );
        Assert.Throws<ArgumentException>(() => HeadCut.Highest([1, 2, 3, 4], 3, keyHeads: 2));
    }
}
