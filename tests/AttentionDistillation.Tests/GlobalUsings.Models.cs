global using AttentionDistillation.Models;
global using AttentionDistillation.Models.Hub;
