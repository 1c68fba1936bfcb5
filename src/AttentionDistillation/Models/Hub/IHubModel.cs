using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>A model that can be read from and written to a Hugging Face checkpoint folder.</summary>
public interface IHubModel : ITracedModel, IDisposable
{
    /// <summary>The class name in transformers, for example <c>BertForMaskedLM</c>.</summary>
    string Architecture { get; }

    /// <summary>The model as a TorchSharp module.</summary>
    nn.Module Module { get; }

    /// <summary>What the <c>config.json</c> it was loaded from held; kept, so that saving loses nothing. Null for a model built here.</summary>
    JsonObject? ConfigExtras { get; set; }

    /// <summary>The configuration under Hugging Face's names.</summary>
    JsonObject ToHubConfig();

    /// <summary>
    /// The tensors of a checkpoint by their names there: parameters, views of fused parameters, running statistics; a tied tensor once. Loading
    /// writes into them in place, saving reads them.
    /// </summary>
    IReadOnlyDictionary<string, Tensor> HubParameters();

    /// <summary>The present-day name of a tensor in a checkpoint.</summary>
    string CanonicalName(string name);

    /// <summary>True for a tensor that checkpoints of this architecture may hold without its being used.</summary>
    bool IsHarmlessExtra(string name);

    /// <summary>Second names of tied tensors: a checkpoint may hold these besides, if they equal the tensors they stand for.</summary>
    IReadOnlyDictionary<string, string> TiedNames { get; }
}
