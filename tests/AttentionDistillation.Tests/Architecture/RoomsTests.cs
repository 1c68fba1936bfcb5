using System.Text.RegularExpressions;
using AttentionDistillation.Tests.Support;

namespace AttentionDistillation.Tests.Architecture;

/// <summary>The rooms of the core library and what each may know. Dependencies point one way; there are no circles.</summary>
public partial class RoomsTests
{
    private static readonly Dictionary<string, string[]> MayKnow = new()
    {
        ["Runtime"] = [],
        ["Tensors"] = ["Runtime"],
        ["Attention"] = ["Runtime", "Tensors"],
        ["Losses"] = ["Runtime", "Tensors", "Attention"],
        ["Models"] = ["Runtime", "Tensors", "Attention"],
        ["Methods"] = ["Runtime", "Tensors", "Attention", "Losses", "Models"],
        ["Training"] = ["Runtime", "Tensors", "Attention", "Losses"],
        ["Worlds"] = ["Runtime", "Tensors"],
        ["Analysis"] = ["Runtime", "Tensors", "Attention"],
        ["Experiments"] = ["Runtime", "Tensors"],
    };

    private static string Library => RepositoryFolder.At("src", "AttentionDistillation");

    public static TheoryData<string> SourceFiles() =>
        [
            .. Directory
                .EnumerateFiles(Library, "*.cs", SearchOption.AllDirectories)
                .Select(path => Path.GetRelativePath(Library, path).Replace('\\', '/'))
                .Where(path =>
                    !path.StartsWith("obj/", StringComparison.Ordinal)
                    && !path.StartsWith("bin/", StringComparison.Ordinal)
                    && !path.EndsWith(".task.cs", StringComparison.Ordinal)
                )
                .Order(StringComparer.Ordinal),
        ];

    [Theory]
    [MemberData(nameof(SourceFiles))]
    public void ArrowsPointDown(string file)
    {
        string text = WithoutComments(File.ReadAllText(Path.Combine(Library, file)));
        string room = file.Split('/')[0];
        Assert.True(MayKnow.ContainsKey(room), $"{file} lies in no room. Rooms: {string.Join(", ", MayKnow.Keys)}.");

        string expected = $"AttentionDistillation.{string.Join('.', file.Split('/')[..^1])}";
        Assert.Contains($"namespace {expected};", text, StringComparison.Ordinal);

        foreach (string other in MayKnow.Keys.Where(other => other != room && !MayKnow[room].Contains(other)))
            Assert.False(
                Regex.IsMatch(text, $@"\bAttentionDistillation\.{other}\b|(?<![\w.]){other}\.[A-Z]"),
                $"{file} uses {other}, which {room} must not know. {room} may know: {string.Join(", ", MayKnow[room].DefaultIfEmpty("nothing"))}."
            );
    }

    [Fact]
    public void ThereAreNoCircles()
    {
        var left = MayKnow.ToDictionary(pair => pair.Key, pair => pair.Value.ToHashSet());
        while (left.Count > 0)
        {
            string[] free = [.. left.Where(pair => pair.Value.Count == 0).Select(pair => pair.Key)];
            Assert.True(free.Length > 0, $"A circle among {string.Join(", ", left.Keys)}.");
            foreach (string room in free)
                left.Remove(room);
            foreach (var known in left.Values)
                known.ExceptWith(free);
        }
    }

    [Fact]
    public void TheTypesOfEachRoomHoldTheArrows()
    {
        const System.Reflection.BindingFlags All =
            System.Reflection.BindingFlags.Public
            | System.Reflection.BindingFlags.NonPublic
            | System.Reflection.BindingFlags.Instance
            | System.Reflection.BindingFlags.Static
            | System.Reflection.BindingFlags.DeclaredOnly;
        foreach (
            var type in typeof(global::AttentionDistillation.Runtime.TorchRuntime)
                .Assembly.GetTypes()
                .Where(type => RoomOf(type) is not null)
        )
        {
            var used = type.GetFields(All)
                .Select(field => field.FieldType)
                .Concat(
                    type.GetMethods(All)
                        .SelectMany(method =>
                            method.GetParameters().Select(parameter => parameter.ParameterType).Append(method.ReturnType)
                        )
                )
                .Concat(
                    type.GetConstructors(All)
                        .SelectMany(constructor => constructor.GetParameters().Select(parameter => parameter.ParameterType))
                )
                .Append(type.BaseType ?? typeof(object))
                .Concat(type.GetInterfaces())
                .SelectMany(Parts);
            string room = RoomOf(type)!;
            foreach (var other in used.Select(RoomOf).OfType<string>().Where(other => other != room))
                Assert.True(MayKnow[room].Contains(other), $"{type.FullName} ({room}) uses a type of {other}.");
        }
    }

    private static IEnumerable<Type> Parts(Type type) =>
        type.HasElementType ? Parts(type.GetElementType()!)
        : type.IsGenericType ? type.GetGenericArguments().SelectMany(Parts).Append(type)
        : [type];

    private static string? RoomOf(Type type) =>
        type.Namespace is { } name
        && name.StartsWith("AttentionDistillation.", StringComparison.Ordinal)
        && type.Assembly == typeof(global::AttentionDistillation.Runtime.TorchRuntime).Assembly
            ? name.Split('.')[1]
            : null;

    private static string WithoutComments(string text) => Comment().Replace(text, "");

    [GeneratedRegex(@"//[^\n]*|/\*.*?\*/|""(?:\\.|[^""\\\n])*""", RegexOptions.Singleline)]
    private static partial Regex Comment();
}
