using System.Globalization;
using AttentionDistillation.Tensors;
using AttentionDistillation.Worlds;
using TorchSharp;

namespace AttentionDistillation.Tests.Worlds;

public class ByteSkillsTests
{
    [Fact]
    public void EveryAnswerIsRight()
    {
        var world = new ByteSkills(120);
        using var batch = world.Text(1, 30).BatchAt(2);
        var seen = new HashSet<char>();
        for (int row = 0; row < 30; row++)
            // The last problem of a row may be cut.
            foreach (string problem in ByteSkills.Read(batch, row).Split(';')[..^1])
            {
                seen.Add(problem[0]);
                string body = problem[1..];
                string[] sides = body.Split('=', '|');
                Assert.Equal(
                    problem[0] switch
                    {
                        'b' => $"{sides[0].Count(c => c == '(') - sides[0].Count(c => c == ')')}",
                        's' => $"{sides[0].Split('+').Sum(part => int.Parse(part, CultureInfo.InvariantCulture)) % 10}",
                        'c' => sides[0],
                        _ => $"{sides[0][sides[0].IndexOf(sides[0][^1]) + 1]}",
                    },
                    sides[1]
                );
            }
        Assert.Equal(4, seen.Count);
    }

    [Fact]
    public void LabelsAreTheBytesThatFollow()
    {
        var world = new ByteSkills(60);
        using var batch = world.HeldOut(1, 4).BatchAt(0);
        Assert.Equal(batch.InputIds[.., 1..], batch.Labels[.., ..^1]);
        foreach (var skill in ByteSkills.Skills)
        {
            using var asked = world.HeldOut(1, 4, skill).BatchAt(0);
            Assert.Equal(batch.InputIds, asked.InputIds);
            Assert.Equal(asked.Labels.ne(Batch.IgnoredLabel), asked[ByteSkills.SkillName].eq((long)skill));
        }
        using var again = world.HeldOut(1, 4).BatchAt(0);
        Assert.Equal(batch.InputIds, again.InputIds);
        using var trained = world.Text(0, 4).BatchAt(0);
        Assert.NotEqual(batch.InputIds, trained.InputIds);
        Assert.Throws<ArgumentException>(() => new ByteSkills(10));
    }
}
