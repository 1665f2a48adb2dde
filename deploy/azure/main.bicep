// Everything that syncd needs in one resource group, with an identity that may do what it does and no more.
//
//   az group create --name syncd --location westeurope
//   az deployment group create --resource-group syncd --template-file deploy/azure/main.bicep --query properties.outputs
//   syncd check --config config/azure.toml            # names what is missing, and the command that mends it
//
// What a quiet month costs is decided by three lines below: the cache's size, the least request units, the namespace's tier.

@description('Beginning of every name; lower-case letters and digits.')
@minLength(3)
@maxLength(11)
param name string = 'syncd'

param location string = resourceGroup().location

@description('Most request units per second of each busy container. Autoscale: a tenth of it is paid for when nothing happens.')
param maxThroughput int = 4000

@description('Standard is enough; Premium gives messages of 100 MB and a tenth of the latency.')
@allowed(['Standard', 'Premium'])
param serviceBusTier string = 'Standard'

var suffix = uniqueString(resourceGroup().id)
var day = 86400

// ---- who syncd is ----

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-identity'
  location: location
}

// ---- queues: three lanes each; duplicate detection absorbs a hop that is sent twice; what expires is kept, never dropped ----

resource namespace 'Microsoft.ServiceBus/namespaces@2022-10-01-preview' = {
  name: '${name}-${suffix}'
  location: location
  sku: { name: serviceBusTier, tier: serviceBusTier }
  properties: { disableLocalAuth: true, minimumTlsVersion: '1.2' }
}

var queueNames = ['sync-inbound', 'sync-outbound', 'azure_api', 'reports']
var lanes = ['-high', '', '-low']

resource queues 'Microsoft.ServiceBus/namespaces/queues@2022-10-01-preview' = [
  for index in range(0, length(queueNames) * length(lanes)): {
    parent: namespace
    name: '${queueNames[index / length(lanes)]}${lanes[index % length(lanes)]}'
    properties: {
      lockDuration: 'PT1M'
      maxDeliveryCount: 10
      defaultMessageTimeToLive: 'P14D'
      deadLetteringOnMessageExpiration: true
      requiresDuplicateDetection: true
      duplicateDetectionHistoryTimeWindow: 'P1D'
      maxSizeInMegabytes: 5120
    }
  }
]

// ---- documents ----

resource account 'Microsoft.DocumentDB/databaseAccounts@2024-05-15' = {
  name: '${name}-${suffix}'
  location: location
  kind: 'GlobalDocumentDB'
  properties: {
    databaseAccountOfferType: 'Standard'
    consistencyPolicy: { defaultConsistencyLevel: 'Session' }
    locations: [{ locationName: location, failoverPriority: 0 }]
    disableLocalAuth: true
    minimalTlsVersion: 'Tls12'
    backupPolicy: { type: 'Continuous', continuousModeProperties: { tier: 'Continuous7Days' } }
  }
}

// The containers share this; `syncd check --create` makes them with their keys, index policies and times to live, which the
// program declares and a template could only repeat.
resource database 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases@2024-05-15' = {
  parent: account
  name: 'syncd'
  properties: {
    resource: { id: 'syncd' }
    options: { autoscaleSettings: { maxThroughput: maxThroughput } }
  }
}

// ---- rate limits, secrets, bodies ----

resource cache 'Microsoft.Cache/redis@2024-03-01' = {
  name: '${name}-${suffix}'
  location: location
  properties: {
    sku: { name: 'Standard', family: 'C', capacity: 1 }
    minimumTlsVersion: '1.2'
    redisConfiguration: { 'maxmemory-policy': 'noeviction' } // a limit that is forgotten is no limit
  }
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: '${name}${take(suffix, 12)}'
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    softDeleteRetentionInDays: 90
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: '${name}${suffix}'
  location: location
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: { allowBlobPublicAccess: false, allowSharedKeyAccess: false, minimumTlsVersion: 'TLS1_2', supportsHttpsTrafficOnly: true }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = { parent: storage, name: 'default' }

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: 'syncd'
}

// ---- what the identity may do: read and write messages, documents, secrets and blobs; nothing about the resources themselves ----
// The ids are those of the built-in roles: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles

var receiver = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
var sender = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
var secretsOfficer = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7')
var blobContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')

resource mayReceive 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(namespace.id, identity.id, receiver)
  scope: namespace
  properties: { principalId: identity.properties.principalId, principalType: 'ServicePrincipal', roleDefinitionId: receiver }
}

resource maySend 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(namespace.id, identity.id, sender)
  scope: namespace
  properties: { principalId: identity.properties.principalId, principalType: 'ServicePrincipal', roleDefinitionId: sender }
}

resource mayKeepSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identity.id, secretsOfficer)
  scope: vault
  properties: { principalId: identity.properties.principalId, principalType: 'ServicePrincipal', roleDefinitionId: secretsOfficer }
}

resource mayKeepBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(container.id, identity.id, blobContributor)
  scope: container
  properties: { principalId: identity.properties.principalId, principalType: 'ServicePrincipal', roleDefinitionId: blobContributor }
}

// Cosmos DB has roles of its own for data; this one may read and write documents in this database and cannot make containers.
resource mayKeepDocuments 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2024-05-15' = {
  parent: account
  name: guid(account.id, identity.id, 'data')
  properties: {
    principalId: identity.properties.principalId
    roleDefinitionId: '${account.id}/sqlRoleDefinitions/00000000-0000-0000-0000-000000000002'
    scope: '${account.id}/dbs/syncd'
  }
}

output AZURE_CLIENT_ID string = identity.properties.clientId
output SYNCD_SERVICEBUS__NAMESPACE string = '${namespace.name}.servicebus.windows.net'
output COSMOS_ENDPOINT string = account.properties.documentEndpoint
output COSMOS_DATABASE string = database.name
output KEY_VAULT_URL string = vault.properties.vaultUri
output SYNCD_BLOB__ACCOUNT_NAME string = storage.name
output AZURE_STORAGE_CONTAINER_NAME string = container.name
@description('REDIS_URL=rediss://:<az redis list-keys>@<this>:6380/0')
output REDIS_HOST string = cache.properties.hostName
