using AttentionDistillation.Experiments;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Tests.Runtime;

public sealed class ResearchCacheTests
{
    private static readonly string Root = Path.GetFullPath(Path.DirectorySeparatorChar.ToString());

    private static string Resolve(bool windows, string home, params (string Name, string Value)[] variables) =>
        ResearchCache.Resolve(
            name => variables.FirstOrDefault(pair => pair.Name == name).Value,
            windows,
            home.Length == 0 ? "" : Path.Combine(Root, home)
        );

    [Fact]
    public void TheVariableComesFirst()
    {
        string named = Path.Combine(Root, "elsewhere");
        Assert.Equal(named, Resolve(false, "home", (ResearchCache.Variable, named), ("XDG_CACHE_HOME", Root)));
        Assert.Equal(named, Resolve(true, "home", (ResearchCache.Variable, named)));
        Assert.Equal(
            Path.Combine(Environment.CurrentDirectory, "near"),
            Resolve(false, "home", (ResearchCache.Variable, "near"))
        );
    }

    [Fact]
    public void EmptyVariablesAreNone() =>
        Assert.Equal(
            Path.Combine(Root, "home", ".cache", "attention-distillation"),
            Resolve(false, "home", (ResearchCache.Variable, " "), ("XDG_CACHE_HOME", ""))
        );

    [Fact]
    public void TheUsersCacheFolderIsTheSystems()
    {
        string caches = Path.Combine(Root, "caches");
        Assert.Equal(Path.Combine(caches, "attention-distillation"), Resolve(false, "home", ("XDG_CACHE_HOME", caches)));
        Assert.Equal(Path.Combine(Root, "local", "attention-distillation"), Resolve(true, "local", ("XDG_CACHE_HOME", caches)));
    }

    [Fact]
    public void ARelativeXdgFolderDoesNotCount() =>
        Assert.Equal(
            Path.Combine(Root, "home", ".cache", "attention-distillation"),
            Resolve(false, "home", ("XDG_CACHE_HOME", "relative"))
        );

    [Fact]
    public void WithoutAHomeItIsTemporary() =>
        Assert.Equal(Path.Combine(Path.GetTempPath(), "attention-distillation"), Resolve(false, ""));

    [Fact]
    public void CellsLieBelowIt()
    {
        Assert.Equal(Path.Combine(ResearchCache.Folder, "cells", "a"), ResearchCache.At("cells", "a"));
        Assert.Equal(ResearchCache.At("cells"), new AblationOptions().Folder);
        Assert.Equal("mine", new AblationOptions { CacheFolder = "mine" }.Folder);
    }
}
