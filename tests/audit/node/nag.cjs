// Judge CloudFormation templates with cdk-nag: node nag.cjs <folder for the report> <template.json> ...
// The report is <folder>/validation-report.json. Each template is a stack, called as its file.
const path = require("path");
const { App, Stack, Validations } = require("aws-cdk-lib");
const { CfnInclude } = require("aws-cdk-lib/cloudformation-include");
const { AwsSolutionsChecks, ServerlessChecks } = require("cdk-nag");

const [outdir, ...files] = process.argv.slice(2);
const app = new App({ outdir, analyticsReporting: false });
for (const file of files) {
  const name = path.basename(file, ".json");
  new CfnInclude(new Stack(app, name.replaceAll("_", "-")), "Included", { templateFile: file });
}
Validations.of(app).addPlugins(new AwsSolutionsChecks(app), new ServerlessChecks(app));
try {
  app.synth();
} catch (error) {
  if (error.name !== "ValidationFailed") throw error; // else the report has the findings
}
