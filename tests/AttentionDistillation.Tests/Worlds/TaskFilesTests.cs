using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds;

namespace AttentionDistillation.Tests.Worlds;

public class TaskFilesTests
{
    private static string Write(TemporaryFolder folder, string name, string text)
    {
        string path = Path.Combine(folder.Path, name);
        File.WriteAllText(path, text);
        return path;
    }

    [Fact]
    public void InstructionsAreReadFromArraysAndLines()
    {
        using var folder = new TemporaryFolder();
        var array = InstructionFiles.Read(
            Write(folder, "a.json", """ [{"instruction": "1+1?", "output": "2"}, {"problem": "x", "solution": "y\nz"}] """)
        );
        Assert.Equal([new InstructionText("1+1?", "2"), new InstructionText("x", "y\nz")], array);
        string lines = Write(
            folder,
            "b.jsonl",
            "{\"problem\": \"p\", \"solution\": \"s\"}\n\n{\"problem\": \"q\", \"solution\": \"t\"}\n"
        );
        Assert.Equal([new InstructionText("p", "s")], InstructionFiles.Read(lines, most: 1));
        var wrong = Assert.Throws<InvalidDataException>(() =>
            InstructionFiles.Read(Write(folder, "c.jsonl", "{\"instruction\": \"p\"}"))
        );
        Assert.Contains("line 1", wrong.Message);
        Assert.Throws<InvalidDataException>(() => InstructionFiles.Read(Write(folder, "d.json", "[1, 2]")));
        Assert.Throws<InvalidDataException>(() => InstructionFiles.Read(Write(folder, "e.json", "{\"problem\": ")));
        Assert.Throws<FileNotFoundException>(() => InstructionFiles.Read(Path.Combine(folder.Path, "none.json")));
    }

    [Fact]
    public void TasksWithOptionsAreReadFromAFolderAndGiveDemonstrations()
    {
        using var folder = new TemporaryFolder();
        Write(
            folder,
            "one.jsonl",
            string.Join(
                '\n',
                Enumerable
                    .Range(0, 6)
                    .Select(number =>
                        $"{{\"task\": \"glue-sst2\", \"input\": \"i{number}\", \"output\": \"good\", \"options\": [\"good\", \"bad\"]}}"
                    )
            )
        );
        Write(folder, "two.json", """ [{"task": "squad", "input": "q", "output": "free text"}] """);
        var tasks = OptionTasks.Read(folder.Path);
        Assert.Equal(["glue-sst2", "squad"], tasks.Names);
        Assert.Equal(["good", "bad"], tasks["glue-sst2"][0].Options);
        Assert.Empty(tasks["squad"][0].Options);
        var shown = tasks.Demonstrations("glue-sst2", 2, 4, 1);
        Assert.Equal(4, shown.Select(example => example.Input).Distinct().Count());
        Assert.DoesNotContain(shown, example => example.Input == "i2");
        Assert.Equal(shown, tasks.Demonstrations("glue-sst2", 2, 4, 1));
        Assert.Equal(5, tasks.Demonstrations("glue-sst2", 2, 100, 1).Count);
        Assert.Throws<KeyNotFoundException>(() => tasks["mnli"]);
        var wrong = Assert.Throws<InvalidDataException>(() =>
            OptionTasks.Read(
                Write(folder, "bad.jsonl", "{\"task\": \"t\", \"input\": \"i\", \"output\": \"x\", \"options\": [\"a\"]}")
            )
        );
        Assert.Contains("none of its options", wrong.Message);
    }
}
