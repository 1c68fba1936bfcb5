using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds.Images;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public sealed class TinyVitTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(7)]
    public void TheCheapLossIsTheRebuiltLabels(int kept)
    {
        var random = new RandomTensors(1);
        var (student, teacher) = (random.Learned(5, 7), random.Normal(5, 7));
        var (values, indices) = TinyVit.SoftLabel(teacher, kept, half: true);
        var target = TinyVit.Rebuild(values, indices, 7);
        var dense = -(target * student.log_softmax(-1)).sum(-1).mean();
        Check.Close(dense, TinyVit.Loss(student, values, indices), 1e-13);
        TinyVit.Loss(student, values, indices).backward();
        // softmax Σ t - t over B, whatever the rows of t sum to.
        var exact = (student.detach().softmax(-1) * target.sum(-1, keepdim: true) - target) / 5;
        Check.Close(exact, student.grad!, 1e-13);
        Check.Gradients(inputs => TinyVit.Loss(inputs[0], values, indices), [student]);
    }

    [Fact]
    public void KeepingEveryClassIsTheTeachersDistribution()
    {
        var random = new RandomTensors(2);
        var (student, teacher) = (random.Normal(4, 6), random.Normal(4, 6));
        var (values, indices) = TinyVit.SoftLabel(teacher, 6);
        Check.Close(teacher.softmax(-1), TinyVit.Rebuild(values, indices, 6), 1e-15);
        Check.Close(ClassBalance.SoftCrossEntropy(student, teacher.softmax(-1)), TinyVit.Loss(student, values, indices), 1e-13);
        // Nothing teaches a student that already is the teacher.
        var learned = teacher.clone().requires_grad_();
        TinyVit.Loss(learned, values, indices).backward();
        Assert.True(learned.grad!.abs().max().item<double>() < 1e-15);
    }

    [Fact]
    public void RebuiltLabelsSumToOneAndKeepTheLargest()
    {
        var logits = new RandomTensors(3).Normal(6, 20) * 4;
        var (values, indices) = TinyVit.SoftLabel(logits, 5);
        var rebuilt = TinyVit.Rebuild(values, indices, 20);
        Check.Close(ones(6, dtype: ScalarType.Float64), rebuilt.sum(-1), 1e-14);
        Check.Close(logits.softmax(-1).sort(-1, descending: true).Values.narrow(1, 0, 5), values, 1e-15);
        Check.Close(values, rebuilt.gather(1, indices), 0);
        var others = rebuilt.scatter(1, indices, -ones_like(values));
        for (int row = 0; row < 6; row++)
        {
            var rest = others[row].masked_select(others[row] >= 0);
            Assert.Equal(15, rest.numel());
            Check.Close(rest[0].expand(15), rest, 0);
        }
    }

    [Fact]
    public void RoundedSumsAboveOneStayAsTheyAre()
    {
        // Float16 has 2^-11 between 0.5 and 1, so that 0.9998 becomes 1 and the others' 2e-4 comes on top.
        var logits = tensor(
                new[,]
                {
                    { 0.9998, 1e-4, 1e-4 / 2, 1e-4 / 2 },
                }
            )
            .log();
        var (values, indices) = TinyVit.SoftLabel(logits, 2, half: true);
        Assert.True(values.sum().item<double>() > 1);
        var rebuilt = TinyVit.Rebuild(values, indices, 4);
        Assert.InRange(rebuilt.min().item<double>(), -1e-4, -1e-6);
        Assert.True(TinyVit.Loss(logits, values, indices).isfinite().item<bool>());
    }

    [Fact]
    public void LowPrecisionLogitsAreTaughtInFloat32()
    {
        var random = new RandomTensors(4);
        var (student, teacher) = (random.Normal(3, 8).to(ScalarType.BFloat16), random.Normal(3, 8).to(ScalarType.BFloat16));
        var (values, indices) = TinyVit.SoftLabel(teacher, 3);
        Assert.Equal(ScalarType.Float32, values.dtype);
        var loss = TinyVit.Loss(student, values, indices);
        Assert.Equal(ScalarType.Float32, loss.dtype);
        Check.Close(TinyVit.Loss(student.to(ScalarType.Float64), values, indices), loss, 1e-6);
    }

    [Fact]
    public void TheTeacherReceivesNoGradientAndBadNumbersAreRefused()
    {
        var random = new RandomTensors(5);
        var (student, teacher) = (random.Learned(3, 8), random.Learned(3, 8));
        var (values, indices) = TinyVit.SoftLabel(teacher, 3);
        TinyVit.Loss(student, values, indices).backward();
        Assert.Null(teacher.grad);
        Assert.Contains("Keep 1 to 8", Assert.Throws<ArgumentException>(() => TinyVit.SoftLabel(teacher, 9)).Message);
        Assert.Throws<ArgumentException>(() => TinyVit.SoftLabel(teacher, 0));
        Assert.Throws<ArgumentException>(() => TinyVit.Rebuild(values, indices, 2));
        Assert.Throws<ArgumentException>(() => TinyVit.Loss(student, values, indices.narrow(1, 0, 2)));
        Assert.Throws<ArgumentException>(() => TinyVit.Loss(student.narrow(0, 0, 2), values, indices));
    }

    [Fact]
    public void AStudentLearnsFromTheStoreWhatTheTeacherSaidOfTheReplayedImages()
    {
        using var scope = NewDisposeScope();
        var images = new KeyObjects().Images(1, ImageSplit.Train, 24);
        var augmentation = new ImageAugmentation
        {
            Flip = true,
            LeastCrop = 0.4,
            ColourJitter = 0.2,
            Erase = 0.5,
        };
        var replay = new ImageReplay(images, augmentation, 3);
        using var teacher = new ConvolutionalClassifier(new() { Widths = [4, 8], Strides = [2, 2] }, 1);
        teacher.train();
        using var store = Store(replay, 24, 12, 5);
        foreach (int epoch in store.MissingEpochs)
            TinyVit.Label(teacher, store, epoch, replay.Epoch(epoch, 10).All());
        Assert.True(teacher.training);
        Assert.Empty(store.MissingEpochs);
        teacher.eval();
        var batches = replay.Training(store, 7, 8);
        for (int step = 0; step < 6; step++)
        {
            using var batch = batches.BatchAt(step);
            using var noGrad = no_grad();
            var logits = teacher.call(batch[ImageModel.PixelValues], null);
            var (values, indices) = TinyVit.SoftLabel(logits, 5, half: true);
            // A convolution's sums may differ with the batch's composition: one step of float16 is allowed.
            Check.Close(values, batch[ImageReplay.SoftValues], 1e-3);
            Assert.True(indices.eq(batch[ImageReplay.SoftClasses]).all().item<bool>());
        }
    }

    [Fact]
    public void ATeacherOfOtherClassesIsRefusedAndLeavesNothing()
    {
        var replay = new ImageReplay(new KeyObjects().Images(1, ImageSplit.Train, 12), ImageAugmentation.None, 1);
        using var teacher = new ConvolutionalClassifier(
            new()
            {
                Widths = [4, 8],
                Strides = [2, 2],
                Classes = 5,
            },
            1
        );
        using var store = Store(replay, 12, 12, 2);
        var error = Assert.Throws<ArgumentException>(() => TinyVit.Label(teacher, store, 0, replay.Epoch(0, 4).All()));
        Assert.Contains("12 classes", error.Message);
        Assert.Empty(Directory.GetFiles(store.Folder));
        Assert.Equal([0, 1], store.MissingEpochs);
    }

    [Fact]
    public void LabellingAndLearningLeaveNothing()
    {
        var replay = new ImageReplay(new KeyObjects().Images(1, ImageSplit.Train, 12), ImageAugmentation.Standard, 1);
        using var teacher = new ConvolutionalClassifier(new() { Widths = [4, 8], Strides = [2, 2] }, 1);
        using var store = Store(replay, 12, 12, 2);
        TinyVit.Label(teacher, store, 0, replay.Epoch(0, 4).All());
        var source = replay.Training(store, 1, 6);
        using var student = new RandomTensors(1).Learned(6, 12);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int step = 0; step < 10; step++)
        {
            TinyVit.Label(teacher, store, 1, replay.Epoch(1, 5).All());
            using var scope = NewDisposeScope();
            using var batch = source.BatchAt(step % 4);
            using var loss = TinyVit.Loss(student, batch[ImageReplay.SoftValues], batch[ImageReplay.SoftClasses]);
            loss.backward();
            student.grad = null;
        }
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private SparseLabelStore Store(ImageReplay replay, int images, int classes, int kept) =>
        new(
            folder.At("labels"),
            new()
            {
                Classes = classes,
                Kept = kept,
                Images = images,
                Epochs = 2,
                Pipeline = replay.Pipeline,
            }
        );
}
