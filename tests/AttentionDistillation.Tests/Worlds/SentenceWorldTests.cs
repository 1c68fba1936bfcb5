using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds;
using TorchSharp;

namespace AttentionDistillation.Tests.Worlds;

/// <summary>The worlds of sentence pairs and of questions, and the readers of their real formats.</summary>
public class SentenceWorldTests
{
    private static readonly FactSentences Facts = new(seed: 1);

    private static SentencePairs Pairs(int count) => new(Facts.Pairs("train", count), Facts.Layout, 24, 48);

    [Fact]
    public void SimilarityIsTheShareOfEqualFacts()
    {
        var scene = new Scene(0, 1, 2, 3, 4, 5);
        Assert.Equal(1, scene.SimilarityTo(scene));
        Assert.Equal(4.0 / 6, scene.SimilarityTo(scene with { Agent = 3, Patient = 0 }), 12);
    }

    [Fact]
    public void TheWorldIsAFunctionOfSeedSplitAndNumber()
    {
        var again = new FactSentences(seed: 1);
        var (few, many) = (Facts.Pairs("test", 50), again.Pairs("test", 200));
        for (int i = 0; i < few.Count; i++)
        {
            Assert.Equal(few[i].First, many[i].First);
            Assert.Equal(few[i].Score, many[i].Score);
        }
        Assert.NotEqual(Facts.Text(few[0].First), Facts.Text(Facts.Pairs("train", 1)[0].First));
        Assert.All(
            many,
            pair => Assert.InRange(Math.Max(pair.First.Length, pair.Second.Length), 9, FactSentences.LongestSentence - 2)
        );
        Assert.InRange(many.Count(pair => pair.Kind == FactSentences.HardKind), 25, 75);
        Assert.Equal(many[0].First, Facts.Encode(Facts.Text(many[0].First)));
    }

    [Fact]
    public void HardPairsSwapRolesAndNothingElse()
    {
        var plain = new FactSentences(seed: 2, new() { HardShare = 1, AsideShare = 0 });
        double[] scores = [.. plain.Pairs("train", 100).Select(pair => pair.Score).Distinct().Order()];
        Assert.Equal([2.0 / 6, 4.0 / 6, 1], scores);
        Assert.Throws<ArgumentException>(() => new FactSentences(1, new() { Persons = 40 }));
        Assert.Throws<ArgumentException>(() => new FactSentences(1, new() { Habit = 1.2 }));
    }

    [Fact]
    public void JoinedRowsHoldBothSentencesInBothOrders()
    {
        var pairs = Pairs(5);
        using var batch = pairs.Joined(seed: 1, batchSize: 10, bothOrders: true).BatchAt(0);
        var seen = new HashSet<string>();
        for (int row = 0; row < 10; row++)
        {
            long[] ids = [.. batch.InputIds[row].data<long>()];
            int real = batch.Mask![row].sum().ToInt32();
            Assert.Equal((1L, 2L), (ids[0], ids[real - 1]));
            int pair = batch["pair"][row].ToInt32();
            var (first, second) = (pairs.Pairs[pair].First, pairs.Pairs[pair].Second);
            int split = Array.IndexOf(ids, 2L);
            long[] left = ids[1..split],
                right = ids[(split + 1)..(real - 1)];
            Assert.True(
                (left.SequenceEqual(first) && right.SequenceEqual(second))
                    || (left.SequenceEqual(second) && right.SequenceEqual(first))
            );
            Assert.Equal(right.Length + 1, batch.TokenTypeIds![row].sum().ToInt32());
            seen.Add($"{pair} {left.SequenceEqual(first)}");
        }
        Assert.Equal(10, seen.Count);
    }

    [Fact]
    public void LongPairsLoseTheEndOfTheLongerSentence()
    {
        long[] longer = [.. Enumerable.Range(10, 12).Select(number => (long)number)];
        var layout = new SentenceLayout(0, 2, 3, 1, 4, 100, DoublesSeparator: true);
        var pairs = new SentencePairs([new(longer, [50, 51], 1, "")], layout, 6, 12);
        using var batch = pairs.AllJoined(4).BatchAt(0);
        Assert.Equal([0L, 10, 11, 12, 13, 14, 15, 2, 2, 50, 51, 2], batch.InputIds[0].data<long>().ToArray());
        using var apart = pairs.AllApart(4).BatchAt(0);
        Assert.Equal([0L, 10, 11, 12, 13, 2], apart.InputIds[0].data<long>().ToArray());
        Assert.Equal([0L, 50, 51, 2, 1, 1], apart["second_ids"][0].data<long>().ToArray());
        Assert.Throws<ArgumentException>(() => new SentencePairs([new([200], [1], 0, "")], layout, 6, 12));
        Assert.Throws<ArgumentException>(() => new SentencePairs([], layout, 6, 12));
    }

    [Fact]
    public void MaskedRowsAskForWhatTheyHide()
    {
        var pairs = Pairs(64);
        var (plain, source) = (pairs.AllJoined(64), pairs.MaskedLanguage(seed: 1, batchSize: 64));
        using var alone = source.BatchAt(0);
        using var joined = source.BatchAt(1);
        using var again = source.BatchAt(1);
        Assert.Equal((24L, 48L), (alone.InputIds.size(1), joined.InputIds.size(1)));
        Assert.True(joined.InputIds.equal(again.InputIds).all().ToBoolean());
        var asked = joined.Labels.ne(Batch.IgnoredLabel);
        double share = asked.sum().ToDouble() / joined.Mask!.sum().ToDouble();
        Assert.InRange(share, 0.1, 0.2);
        Assert.False(asked.logical_and(joined.Mask.logical_not()).any().ToBoolean());
        Assert.Equal(1, plain.Count);
    }

    [Fact]
    public void StsFilesOfEveryForm()
    {
        using var folder = new TemporaryFolder();
        string At(string name, params string[] lines)
        {
            string path = Path.Combine(folder.Path, name);
            File.WriteAllLines(path, lines);
            return path;
        }
        var benchmark = StsFiles.ReadTsv(
            At(
                "sts-test.csv",
                "main\tnews\t2016\t12\t4.5\tA man eats.\tA man is eating.",
                "main\tnews\t2016\t13\t0\tX\tY\tlicence"
            )
        );
        Assert.Equal(new TextPair("A man eats.", "A man is eating.", 4.5), benchmark[0]);
        Assert.Equal(2, benchmark.Count);
        var sick = StsFiles.ReadTsv(At("sick.txt", "pair_ID\tsentence_A\tsentence_B\trelatedness_score", "7\tone\ttwo\t3.2"));
        Assert.Equal(new TextPair("one", "two", 3.2), Assert.Single(sick));
        Assert.Equal(new TextPair("a", "b", 1), Assert.Single(StsFiles.ReadTsv(At("three.tsv", "1\ta\tb"))));
        Assert.True(double.IsNaN(Assert.Single(StsFiles.ReadPairs(At("pairs.txt", "left side||right side", ""))).Score));
        Assert.Contains(
            "line 2",
            Assert.Throws<InvalidDataException>(() => StsFiles.ReadTsv(At("bad.tsv", "1\ta\tb", "x\ta\tb"))).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "line 1",
            Assert.Throws<InvalidDataException>(() => StsFiles.ReadPairs(At("bad.txt", "no bars"))).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<InvalidDataException>(() => StsFiles.ReadTsv(At("four.tsv", "a\tb\tc\td")));
    }

    private static readonly CrossLingualFacts Languages = new(seed: 1);

    [Fact]
    public void TheAnswerSaysTheSameInEveryLanguage()
    {
        var concepts = new HashSet<string>();
        var question = Languages.Question("train", 3);
        for (int language = 0; language < Languages.Options.Languages; language++)
        {
            var row = Languages.Row(question, 0, language);
            string answer = Languages.Text(row.Context[row.Start..(row.End + 1)]);
            Assert.All(answer.Split(' '), word => Assert.EndsWith($"·{language}", word, StringComparison.Ordinal));
            concepts.Add(answer.Replace($"·{language}", "", StringComparison.Ordinal));
        }
        Assert.Single(concepts);
        Assert.Equal(question.Facts[question.Asked].Object.Select(word => $"o{word}"), concepts.Single().Split(' '));
    }

    [Fact]
    public void NeitherSubjectNorRelationAloneFindsTheAnswer()
    {
        for (int number = 0; number < 40; number++)
        {
            var question = Languages.Question("train", number);
            var asked = question.Facts[question.Asked];
            Assert.Contains(question.Facts, fact => fact.Subject == asked.Subject && fact.Relation != asked.Relation);
            Assert.Contains(question.Facts, fact => fact.Relation == asked.Relation && fact.Subject != asked.Subject);
            Assert.Equal(question.Facts.Count, question.Facts.Select(fact => (fact.Subject, fact.Relation)).Distinct().Count());
        }
    }

    [Fact]
    public void QuestionRowsMarkTheContextAndTheAnswer()
    {
        var rows = Languages.Rows("train", [0, 1, 2], [(0, 1), (1, 0)]);
        var set = new QuestionRows(rows, Languages.Layout, 40);
        using var batch = set.All(8).BatchAt(0);
        for (int at = 0; at < rows.Count; at++)
        {
            int start = batch["start"][at].ToInt32(),
                end = batch["end"][at].ToInt32();
            Assert.Equal(
                rows[at].Context[rows[at].Start..(rows[at].End + 1)],
                batch.InputIds[at].data<long>().ToArray()[start..(end + 1)]
            );
            Assert.Equal(rows[at].Context.Length, batch["context"][at].sum().ToInt32());
            Assert.Equal((start, end), (set.GoldSpans()[at, 0].ToInt32(), set.GoldSpans()[at, 1].ToInt32()));
        }
        Assert.Contains(
            "40",
            Assert
                .Throws<ArgumentException>(() =>
                    new QuestionRows([rows[0] with { Context = new long[60] }], Languages.Layout, 40)
                )
                .Message,
            StringComparison.Ordinal
        );
        var wrong = Languages.Row(Languages.Question("train", 0), 0, 0, answered: (Languages.Question("train", 0).Asked + 1) % 4);
        Assert.NotEqual(Languages.Row(Languages.Question("train", 0), 0, 0).Start, wrong.Start);
    }

    [Fact]
    public void ParallelTextSaysTheSameOnBothSides()
    {
        using var batch = Languages.MaskedLanguage(seed: 1, batchSize: 32, length: 48, parallelShare: 1).BatchAt(0);
        using var same = Languages.MaskedLanguage(seed: 1, batchSize: 32, length: 48, parallelShare: 0).BatchAt(0);
        string[] LanguagesOf(Batch rows, int row) =>
            [
                .. rows.InputIds[row]
                    .data<long>()
                    .ToArray()
                    .Select(id => Languages.Tokens[(int)id])
                    .Where(word => word.Contains('·'))
                    .Select(word => word[^1..])
                    .Distinct(),
            ];
        // Random replacements may bring in a word of any language.
        Assert.InRange(Enumerable.Range(0, 32).Average(row => LanguagesOf(batch, row).Length), 2, 2.6);
        Assert.InRange(Enumerable.Range(0, 32).Average(row => LanguagesOf(same, row).Length), 1, 1.6);
        Assert.Throws<ArgumentException>(() => Languages.MaskedLanguage(1, 4, 40, 1.5));
        Assert.Throws<ArgumentException>(() => new CrossLingualFacts(1, new() { Facts = 1 }));
    }

    private const string Squad = """
        {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": "Anna lives in the old town of Bern since 2001 .",
        "qas": [{"id": "q1", "question": "Where does Anna live ?", "answers": [{"text": "the old town", "answer_start": 14}]},
                {"id": "q2", "question": "Since when ?", "answers": [{"text": "2001", "answer_start": 41}]}]}]}]}
        """;

    private static List<TextToken> BySpace(string text)
    {
        var tokens = new List<TextToken>();
        foreach (var match in System.Text.RegularExpressions.Regex.EnumerateMatches(text, @"\S+"))
            tokens.Add(new(10 + tokens.Count, match.Index, match.Index + match.Length));
        return tokens;
    }

    [Fact]
    public void SquadContextsAreCutIntoOverlappingWindows()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "dev.json");
        File.WriteAllText(path, Squad);
        var examples = SquadFiles.Read(path);
        Assert.Equal(["q1", "q2"], examples.Select(example => example.Id));
        var layout = new SentenceLayout(1, 2, 3, 0, 4, 100);
        var windows = SquadFiles.Windows(examples[0], 0, BySpace, layout, length: 14, stride: 3);
        // 5 words of question and 3 special tokens leave 6 of the 11 words of context: windows at 0, 3 and 6.
        Assert.Equal([6, 6, 5], windows.Select(window => window.Tokens.Count));
        Assert.Equal([(3, 5), (0, 2), (-1, -1)], windows.Select(window => (window.Row.Start, window.Row.End)));
        Assert.Equal("the old town", windows[1].Text(windows[1].Row.Start, windows[1].Row.End));
        _ = new QuestionRows([.. windows.Select(window => window.Row)], layout, 14);
        Assert.Throws<ArgumentException>(() => SquadFiles.Windows(examples[0], 0, BySpace, layout, length: 8));
    }

    [Fact]
    public void FilesThatAreNoSquadAreRefused()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "bad.json");
        void Refused(string text, string says)
        {
            File.WriteAllText(path, text);
            Assert.Contains(
                says,
                Assert.Throws<InvalidDataException>(() => SquadFiles.Read(path)).Message,
                StringComparison.Ordinal
            );
        }
        Refused("{", "no JSON");
        Refused("[]", "SQuAD");
        Refused(Squad.Replace("41", "40", StringComparison.Ordinal), "q2");
        Refused(Squad.Replace("\"question\"", "\"ask\"", StringComparison.Ordinal), "question 1");
    }
}
