using System.Text.Json;
using System.Text.Json.Serialization;

namespace NotebookKernel.Running;

/// <summary>What a child process tells the process that watches several notebooks: a line of JSON on standard output.</summary>
/// <param name="Cell">The running cell, from 1; zero before the first.</param>
/// <param name="Cells">Code cells in all.</param>
/// <param name="Line">The last line of output, or of progress.</param>
/// <param name="Share">How much of the running task is done, 0 to 1; null when unknown.</param>
/// <param name="Report">The outcome, in the last message.</param>
internal sealed record JobMessage(int Cell, int Cells, string Line, double? Share, RunReport? Report)
{
    internal string ToJson() => JsonSerializer.Serialize(this, JobJson.Default.JobMessage);

    internal static JobMessage? Parse(string line)
    {
        if (!line.StartsWith('{'))
            return null;
        try
        {
            return JsonSerializer.Deserialize(line, JobJson.Default.JobMessage);
        }
        catch (JsonException)
        {
            return null; // a line that native code printed
        }
    }
}

[JsonSerializable(typeof(JobMessage))]
[JsonSourceGenerationOptions(UseStringEnumConverter = true)]
internal sealed partial class JobJson : JsonSerializerContext;
