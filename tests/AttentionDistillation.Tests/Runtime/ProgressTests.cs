using AttentionDistillation.Runtime;
using AttentionDistillation.Tests.Training;

namespace AttentionDistillation.Tests.Runtime;

[Collection(TrainingCollection.Name)]
public sealed class ProgressTests : IDisposable
{
    private readonly List<ProgressState> reports = [];

    public void Dispose() => Progress.Sink = null;

    [Fact]
    public void ManyReportsAreThinnedAndTheLastIsShown()
    {
        Progress.Sink = new Collect(reports);
        using (var task = Progress.Start("teacher", total: 100_000))
            for (int step = 1; step <= 100_000; step++)
                task.Report(step, step == 100_000 ? "loss 1.5" : null);
        Assert.InRange(reports.Count, 2, 1_000);
        Assert.Equal(
            (100_000L, 100_000L, "loss 1.5", true),
            (reports[^1].Done, reports[^1].Total, reports[^1].Message, reports[^1].Finished)
        );
        Assert.Single(reports, report => report.Finished);
        Assert.Single(reports.Select(report => report.Id).Distinct());
    }

    [Fact]
    public void DisposingTwiceReportsOneEnd()
    {
        Progress.Sink = new Collect(reports);
        var task = Progress.Start("cells", unit: "cell");
        Assert.True(task.Due);
        task.Dispose();
        task.Dispose();
        Assert.Equal(("cells", "cell", true), (Assert.Single(reports).Label, reports[0].Unit, reports[0].Finished));
    }

    [Fact]
    public void WithoutASinkNothingIsDue()
    {
        Progress.Sink = null;
        using var task = Progress.Start("silent");
        Assert.False(task.Due);
        task.Report(1);
    }

    private sealed class Collect(List<ProgressState> reports) : IProgressSink
    {
        public void Report(ProgressState state) => reports.Add(state);
    }
}
