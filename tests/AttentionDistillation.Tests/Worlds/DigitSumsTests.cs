using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

public class DigitSumsTests
{
    [Fact]
    public void AWorkedSumReadsAsDocumented()
    {
        var (prompts, solutions) = DigitSums.Tokens(tensor(new long[] { 7, 5, 9 }).view(1, 3), worked: true);
        Assert.Equal("<s> 7 + 5 + 9 =", DigitSums.Read(prompts[0]));
        Assert.Equal("? 2 1 ! 1 .", DigitSums.Read(solutions[0]));
        Assert.Equal(
            "! 1 .",
            DigitSums.Read(DigitSums.Tokens(tensor(new long[] { 7, 5, 9 }).view(1, 3), worked: false).Solutions[0])
        );
        Assert.Equal(DigitSums.PromptLength(3), prompts.size(1));
        Assert.Equal(DigitSums.SolutionLength(3), solutions.size(1));
    }

    [Fact]
    public void TextsAskForTheSolutionAlone()
    {
        using var batch = DigitSums.Texts(1, 8, [3, 4], worked: true).BatchAt(0);
        using var again = DigitSums.Texts(1, 8, [3, 4], worked: true).BatchAt(0);
        using var next = DigitSums.Texts(1, 8, [3, 4], worked: true).BatchAt(1);
        Assert.True(batch.InputIds.equal(again.InputIds).all().item<bool>());
        Assert.Equal(DigitSums.PromptLength(4) + DigitSums.SolutionLength(4), next.InputIds.size(1));
        long prompt = DigitSums.PromptLength(3);
        Assert.True(batch.Labels[.., ..(int)(prompt - 1)].eq(-100).all().item<bool>());
        Assert.True(batch.Labels[.., (int)(prompt - 1)..^1].eq(batch.InputIds[.., (int)prompt..]).all().item<bool>());
        Check.Close(batch[DigitSums.Sums], DigitSums.Answers(batch.InputIds[.., (int)prompt..]), 0);
    }

    [Fact]
    public void HeldOutProblemsAreNeverTrainedOn()
    {
        using var train = DigitSums.Texts(1, 400, [3], worked: true).BatchAt(0);
        using var test = DigitSums.Problems(1, 100, 3, heldOut: true).BatchAt(0);
        long[] Names(Tensor problems) => [.. (problems * tensor(new long[] { 100, 10, 1 })).sum(1).data<long>()];
        Assert.Empty(Names(train["problems"]).Intersect(Names(test["problems"])));
        Assert.Throws<ArgumentException>(() => DigitSums.Problems(1, 4, 1, true));
    }

    [Fact]
    public void AnAnswerMustBeClosed()
    {
        var solutions = tensor(
                new long[]
                {
                    DigitSums.Answer,
                    4,
                    DigitSums.End,
                    DigitSums.Padding,
                    DigitSums.Think,
                    DigitSums.Answer,
                    4,
                    5,
                    DigitSums.Think,
                    1,
                    2,
                    3,
                    DigitSums.Think,
                    DigitSums.Answer,
                    7,
                    DigitSums.End,
                }
            )
            .view(4, 4);
        Assert.Equal([4L, -1, -1, 7], DigitSums.Answers(solutions).data<long>().ToArray());
    }

    [Fact]
    public void MathProblemsAreRead()
    {
        using var folder = new TemporaryFolder();
        string path = folder.At("openr1.jsonl");
        File.WriteAllText(path, """{"problem": "1 + 1?", "solution": "one and one is two", "answer": "2", "source": "x"}""");
        var problem = Assert.Single(MathProblems.Read(path));
        Assert.Equal("2", problem.Answer);
        File.WriteAllText(path, """{"problem": "1 + 1?", "answer": "2"}""");
        Assert.Contains(
            "solution",
            Assert.Throws<InvalidDataException>(() => MathProblems.Read(path)).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<FileNotFoundException>(() => MathProblems.Read(folder.At("missing.json")));
    }
}
