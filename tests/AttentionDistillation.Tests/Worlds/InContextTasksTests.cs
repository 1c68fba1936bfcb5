using AttentionDistillation.Tensors;
using AttentionDistillation.Worlds;
using TorchSharp;

namespace AttentionDistillation.Tests.Worlds;

public class InContextTasksTests
{
    private static long[][] Rows(torch.Tensor tensor, int width) => [.. tensor.data<long>().Chunk(width)];

    [Fact]
    public void DemonstrationsOfTheQuerysClassTellItsLabelAndNothingElseDoes()
    {
        var world = new InContextTasks();
        int width = world.DemonstrationLength;
        using var batch = world.Tasks(1, 400, 16, 1).BatchAt(0);
        var shown = Rows(batch["demonstrations"], 16 * width);
        var asked = Rows(batch.InputIds, width);
        int known = 0;
        long Kind(long symbol) => (symbol - 6) / 2;
        for (int task = 0; task < 400; task++)
        {
            var labels = shown[task]
                .Chunk(width)
                .Where(one => Kind(one[0]) == Kind(asked[task][0]))
                .Select(one => one[^1])
                .Distinct()
                .ToArray();
            Assert.True(labels.Length <= 1);
            if (labels.Length == 0)
                continue;
            known++;
            Assert.Equal(labels[0], asked[task][^1]);
        }
        // (1 - 1/8)^16 = 12 % are not shown.
        Assert.InRange(known / 400.0, 0.83, 0.93);
        Assert.Equal(0.911, world.Ceiling(16), 3);
        // Without demonstrations all labels are alike.
        Assert.All(asked.GroupBy(query => query[^1]), group => Assert.InRange(group.Count(), 70, 130));
    }

    [Fact]
    public void ChangesAreThoseOfTheSameTasks()
    {
        var world = new InContextTasks(new InContextOptions { HidesPosition = true, Negations = 0.25 });
        Batch Made(DemonstrationChange change) => world.Tasks(3, 4, 5, 2, change).BatchAt(2);
        using var plain = Made(DemonstrationChange.None);
        foreach (var change in Enum.GetValues<DemonstrationChange>())
        {
            using var changed = Made(change);
            Assert.True(plain.InputIds.Equals(changed.InputIds), $"{change}");
            long expected = change switch
            {
                DemonstrationChange.NoInputs => 5,
                DemonstrationChange.NoLabels => 5 * (world.DemonstrationLength - 1),
                _ => 5 * world.DemonstrationLength,
            };
            Assert.Equal([4, expected], changed["demonstrations"].shape);
            Assert.Equal(change == DemonstrationChange.NoLabels ? 0 : 20, changed["is_label"].sum().item<long>());
        }
    }

    [Fact]
    public void NegationsMoveTheLabelHalfWayRound()
    {
        var world = new InContextTasks(new InContextOptions { Negations = 0.5 });
        using var batch = world.Text(1, 50, 20).BatchAt(0);
        foreach (var row in Rows(batch.InputIds, 20 * world.DemonstrationLength))
        {
            var table = new Dictionary<long, long>();
            foreach (var one in row.Chunk(world.DemonstrationLength))
            {
                long label = one[^2] == 0 ? one[^1] - 2 : (one[^1] - 2 + 2) % 4;
                Assert.Equal(label, table.TryAdd((one[0] - 6) / 2, label) ? label : table[(one[0] - 6) / 2]);
            }
        }
        // One label a demonstration, asked for from the place before.
        Assert.Equal(50 * 20, batch.Labels.ne(Batch.IgnoredLabel).sum().item<long>());
        Assert.Equal("a0 b1 c0 not Z", world.Read([6, 9, 10, 1, 5]));
    }
}
