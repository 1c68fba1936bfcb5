using System.Text.RegularExpressions;
using AttentionDistillation.Attention;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;

namespace AttentionDistillation.Tests.Training;

/// <summary>
/// On CUDA a number that the host reads makes it wait for all the work before. Where the rooms that a step runs through may read, and how often a training
/// does. (<see cref="CudaTrainingTests.TheHostWaitsForNoStep"/> asks libtorch itself, where there is a device.)
/// </summary>
[Collection(TrainingCollection.Name)]
public sealed partial class HostReadsTests
{
    // Lines that read a tensor on the host or whose result has a size that the host must know.
    private static readonly Dictionary<string, (int Lines, string Why)> Allowed = new(StringComparer.Ordinal)
    {
        ["Training/CheckpointFile.cs"] = (3, "checkpoints"),
        ["Training/CurveRecorder.cs"] = (2, "recorded values, many at once"),
        ["Training/TrainingLoop.cs"] = (1, "the loss beside the progress bar, on CUDA at recorded steps only"),
        ["Training/BatchFeed.cs"] = (1, "the CPU's generator, at the first step"),
        ["Training/Evaluator.cs"] = (3, "scores"),
        ["Training/TeacherSchedule.cs"] = (2, "the count of steps of a teacher that changes; none where it is frozen"),
        ["Losses/LossTerms.cs"] = (1, "a table for people"),
        ["Losses/Divergences.cs"] = (3, "rows of two masks that must be equally many"),
        ["Losses/RelationProgram.cs"] = (2, "kernels try themselves once a process"),
        ["Losses/TokenPrediction.cs"] = (1, "the places that masked-language modelling asks for"),
        ["Attention/HeadGrid.cs"] = (1, "pictures"),
    };

    [Fact]
    public void StepsReadNothingButWhatIsListed()
    {
        string library = RepositoryFolder.At("src", "AttentionDistillation");
        var found = new[] { "Training", "Losses", "Attention" }
            .SelectMany(room => Directory.EnumerateFiles(Path.Combine(library, room), "*.cs", SearchOption.AllDirectories))
            .Select(path =>
                (
                    File: Path.GetRelativePath(library, path).Replace('\\', '/'),
                    Lines: File.ReadLines(path).Count(line => !Comment().IsMatch(line) && Reads().IsMatch(line))
                )
            )
            .Where(file => file.Lines > 0)
            .OrderBy(file => file.File, StringComparer.Ordinal)
            .ToArray();
        Assert.Equal(
            Allowed.Select(item => (item.Key, item.Value.Lines)).OrderBy(item => item.Key, StringComparer.Ordinal),
            found
        );
    }

    [Theory]
    [InlineData(1, 4)] // 100 points, read 32 at a time and at the end
    [InlineData(10, 1)]
    [InlineData(1_000, 1)]
    public void ATrainingReadsItsCurveManyPointsAtOnce(long recordEvery, long reads)
    {
        using var model = new TinyTransformer(1);
        var options = TrainingScene.Options() with { Steps = 100, RecordEvery = recordEvery };
        using var trainer = new Trainer(model, TraceRequest.Nothing, TinyLosses.NextNumber, options);
        long before = CurveRecorder.Reads;
        trainer.Run(new CountingBatches(3));
        Assert.Equal(reads, CurveRecorder.Reads - before);
    }

    [GeneratedRegex(
        @"\.(item<|ToDouble\(|ToSingle\(|ToInt64\(|ToInt32\(|ToBoolean\(|ReadCpu\w+\(|cpu\(\)|data<|bytes\b|nonzero\(|masked_select\(|unique\()"
    )]
    private static partial Regex Reads();

    [GeneratedRegex(@"^\s*//")]
    private static partial Regex Comment();
}
