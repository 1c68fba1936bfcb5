namespace AttentionDistillation.Tests.Runtime;

/// <summary>Tests that switch forms for the whole process; nothing else may run beside them.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class FastPathsCollection
{
    /// <summary>The collection's name.</summary>
    public const string Name = "fast paths";
}
