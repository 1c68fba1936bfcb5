using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds.Driving;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

public class StreetScenesTests
{
    private const int Many = 2000;

    [Fact]
    public void TheCaptionTellsWhoMattersAndNothingElseDoes()
    {
        var set = new StreetScenes(new() { CaptionNoise = 0 }).Scenes(1, SceneSplit.Test, Many, SceneDifficulty.Normal);
        int nearer = 0,
            earlier = 0,
            named = 0,
            largest = 0;
        for (int index = 0; index < Many; index++)
        {
            var agents = set.Agents(index);
            var relevant = agents.Single(agent => agent.IsRelevant);
            var other = agents.Single(agent => agent.Yields);
            Assert.Equal(agents.Count, agents.Select(agent => agent.Name).Distinct().Count());
            string text = set.TeacherCaption(index);
            Assert.Equal(text, set.Caption(index));
            bool names = text.Contains(relevant.Name, StringComparison.Ordinal);
            Assert.NotEqual(names, text.Contains(other.Name, StringComparison.Ordinal));
            // A sentence that names the one who yields says so.
            Assert.Equal(!names, text.Contains("stops") || text.Contains("waits") || text.Contains("lets you"));
            named += names ? 1 : 0;
            nearer += relevant.Y < other.Y ? 1 : 0;
            earlier += TimeOf(relevant) < TimeOf(other) ? 1 : 0;
            largest += Math.Abs(relevant.VelocityX) > Math.Abs(other.VelocityX) ? 1 : 0;
        }
        // Each within four standard errors of one half.
        foreach (int count in new[] { named, nearer, earlier, largest })
            Assert.InRange(count, Many / 2 - 90, Many / 2 + 90);
        static double TimeOf(SceneAgent agent) => Math.Abs((agent.X - StreetScenes.OwnX) / agent.VelocityX);
    }

    [Fact]
    public void TheTruthKeepsClearOfEveryoneAndTheOtherChoiceDoesNot()
    {
        using var scope = NewDisposeScope();
        var set = new StreetScenes().Scenes(2, SceneSplit.Test, 600, SceneDifficulty.Normal);
        using var batch = set.Evaluation(600).BatchAt(0);
        var distances = (batch["trajectory"].unsqueeze(1) - batch["obstacles"]).square().sum([-1L]).sqrt();
        double Collides(Tensor at) => at.lt(1.5).reshape(600, -1).any(1).to(ScalarType.Float64).mean().item<double>();
        double truth = Collides(distances);
        // Who never waits meets the relevant agent in most scenes in which waiting is the truth.
        var ahead = stack([full(6, StreetScenes.OwnX), (arange(6) + 1).to(ScalarType.Float32) * 2], -1);
        bool[] waits = [.. Enumerable.Range(0, 600).Select(set.Waits)];
        var reckless = (ahead - batch["obstacles"]).square().sum([-1L]).sqrt();
        double never = Collides(reckless);
        Assert.InRange(waits.Count(waiting => waiting) / 600.0, 0.55, 0.85);
        Assert.True(truth < 0.1 && never > truth + 0.15, $"truth {truth:0.000}, never waiting {never:0.000}");
    }

    [Fact]
    public void ASceneIsTheSameUnderEveryDifficultyAndOnlyItsSensesDiffer()
    {
        using var scope = NewDisposeScope();
        var world = new StreetScenes();
        SceneSet Of(SceneDifficulty difficulty) => world.Scenes(3, SceneSplit.Train, 200, difficulty);
        Batch All(SceneSet set) => set.Evaluation(200).BatchAt(0);
        var (normal, night, mute, fog) = (
            All(Of(SceneDifficulty.Normal)),
            All(Of(SceneDifficulty.Night)),
            All(Of(SceneDifficulty.Mute)),
            All(Of(SceneDifficulty.Fog))
        );
        foreach (var other in new[] { night, mute, fog })
        foreach (string name in new[] { "relevant", "classes", "trajectory", "obstacles", "valid" })
            Assert.True(normal[name].eq(other[name]).all().ToBoolean(), name);
        Assert.False(mute["caption_mask"].any().ToBoolean());
        Assert.False(mute["teacher_caption_mask"].any().ToBoolean());
        Assert.True(normal["caption_mask"].any(1).to(ScalarType.Float32).mean().item<float>() > 0.95f);
        Assert.True(normal["geometry"].eq(night["geometry"]).all().ToBoolean());
        double Spread(string name, Batch other) => (other[name] - normal[name]).std().item<float>();
        // Noise of the same draws, three times as strong: the difference is twice the noise.
        Assert.InRange(Spread("views", night), 0.19, 0.21);
        var valid = normal["valid"].unsqueeze(-1).expand_as(normal["geometry"]);
        double metres = (fog["geometry"] - normal["geometry"])[valid].view(-1, 4)[.., ..2].std().item<float>() * 16;
        Assert.InRange(metres, 1.85, 2.15);
        // The same scenes again, and as the first of more.
        var again = All(world.Scenes(3, SceneSplit.Train, 400, SceneDifficulty.Normal).First(200));
        Assert.True(again["views"].eq(normal["views"]).all().ToBoolean());
        Assert.False(
            All(world.Scenes(4, SceneSplit.Train, 200, SceneDifficulty.Normal))["relevant"]
                .eq(normal["relevant"])
                .all()
                .ToBoolean()
        );
    }

    [Fact]
    public void AStudentsCaptionLosesAboutAsManyWordsAsItShould()
    {
        var set = new StreetScenes().Scenes(1, SceneSplit.Train, Many, SceneDifficulty.Normal);
        int said = 0,
            heard = 0;
        for (int index = 0; index < Many; index++)
        {
            said += set.TeacherCaption(index).Split(' ').Length;
            heard += set.Caption(index).Split(' ', StringSplitOptions.RemoveEmptyEntries).Length;
        }
        Assert.InRange(1 - heard / (double)said, 0.065, 0.085); // dropped: half of 0.15
        Assert.Equal(11, Enumerable.Range(0, 20).Count(number => SceneSet.Mixture(number) == SceneDifficulty.Normal));
    }

    [Fact]
    public void WordsAreTokensAndBack()
    {
        Assert.True(SceneCaptions.Words.Count <= 40 && SceneCaptions.Words.Distinct().Count() == SceneCaptions.Words.Count);
        Assert.Equal(
            "give way to the blue van",
            SceneCaptions.Read(SceneCaptions.Tokens("give way to the blue van").Select(token => (long)token))
        );
        Assert.Contains("'bus'", Assert.Throws<ArgumentException>(() => SceneCaptions.Tokens("the blue bus")).Message);
        Assert.Throws<ArgumentException>(() => new StreetScenes(new() { CaptionNoise = 2 }));
        Assert.Throws<ArgumentOutOfRangeException>(() =>
            new StreetScenes().Scenes(-1, SceneSplit.Train, 1, SceneDifficulty.Normal)
        );
    }

    [Fact]
    public void EachSceneComesOnceAPass()
    {
        using var scope = NewDisposeScope();
        var set = new StreetScenes().Scenes(1, SceneSplit.Train, 60, SceneSet.Mixture);
        var source = set.Training(4, 12);
        var seen = Enumerable
            .Range(0, set.StepsPerEpoch(12))
            .SelectMany(step => source.BatchAt(step)["index"].data<long>().ToArray());
        Assert.Equal(Enumerable.Range(0, 60).Select(index => (long)index), seen.Order());
        Assert.True(source.BatchAt(3)["views"].eq(source.BatchAt(3)["views"]).all().ToBoolean());
    }

    [Fact]
    public void CaptionsOfRecordedScenesAreReadLineByLine()
    {
        using var folder = new TemporaryFolder();
        string path = folder.At("captions.jsonl");
        File.WriteAllText(
            path,
            "{\"sample\": \"a1\", \"text\": \"the van stops\"}\n\n{\"sample\": \"b2\", \"text\": \"give way\"}\n"
        );
        Assert.Equal("give way", CaptionFiles.Read(path)["b2"]);
        string Refusal(string text)
        {
            File.WriteAllText(path, text);
            return Assert.Throws<InvalidDataException>(() => CaptionFiles.Read(path)).Message;
        }
        Assert.Contains("line 1 is not JSON", Refusal("{nonsense"));
        Assert.Contains("line 2 needs the texts", Refusal("{\"sample\": \"a\", \"text\": \"b\"}\n{\"sample\": \"c\"}"));
        Assert.Contains(
            "'a' has a caption already",
            Refusal("{\"sample\": \"a\", \"text\": \"b\"}\n{\"sample\": \"a\", \"text\": \"c\"}")
        );
        Assert.Throws<FileNotFoundException>(() => CaptionFiles.Read(folder.At("none")));
    }
}
